//! What a segment's sizes show at a glance: one row a pattern.

super::terms! {
    /// What a segment's sizes show at a glance.
    pub enum Pattern: "pattern" {
        Written: "written", "Dirty near RSS",
            "";
        ReadMostly: "read-mostly", "RSS high, Dirty low",
            "";
        Reserved: "reserved", "RSS far below the size",
            "";
        Growing: "growing", "RSS rose through the session and still did at its end",
            "the latest size is the highest";
    }
}
