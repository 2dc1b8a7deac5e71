//! One unit for a screen: KiB for little memory, MiB with one decimal for more.

/// The unit of all figures of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole; the kernel's own sizes have no smaller part.
    Kib,
    /// With one decimal.
    Mib,
    /// With one decimal.
    Gib,
}

impl Unit {
    /// The unit in which a total reads well.
    #[must_use]
    pub const fn of(total: i128) -> Self {
        match total.unsigned_abs() >> 20 {
            0..10 => Self::Kib,
            10..10_240 => Self::Mib,
            _ => Self::Gib,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kib => "KiB",
            Self::Mib => "MiB",
            Self::Gib => "GiB",
        }
    }

    const fn bytes(self) -> u128 {
        match self {
            Self::Kib => 1 << 10,
            Self::Mib => 1 << 20,
            Self::Gib => 1 << 30,
        }
    }

    /// Bytes in this unit, without its name. What is more than nothing is not shown as nothing.
    #[must_use]
    pub fn figure(self, bytes: i128) -> String {
        let sign = if bytes < 0 { "-" } else { "" };
        let (size, unit) = (bytes.unsigned_abs(), self.bytes());
        if self == Self::Kib {
            let whole = size.div_euclid(unit) + u128::from(size % unit * 2 >= unit);
            return if size > 0 && whole == 0 {
                format!("{sign}<1")
            } else {
                format!("{sign}{whole}")
            };
        }
        let tenths = (size.saturating_mul(10) + unit / 2) / unit;
        if size > 0 && tenths == 0 {
            return format!("{sign}<0.1");
        }
        format!("{sign}{}.{}", tenths / 10, tenths % 10)
    }

    /// The same with its name.
    #[must_use]
    pub fn size(self, bytes: i128) -> String {
        format!("{} {}", self.figure(bytes), self.name())
    }
}

/// A size in the unit that reads best for itself alone.
#[must_use]
pub fn size(bytes: i128) -> String {
    let unit = match bytes.unsigned_abs() {
        0..1_048_576 => Unit::Kib,
        1_048_576..1_073_741_824 => Unit::Mib,
        _ => Unit::Gib,
    };
    unit.size(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_one_unit_and_nothing_is_lost_to_rounding() {
        assert_eq!(Unit::of(9 << 20), Unit::Kib);
        assert_eq!(Unit::of(10 << 20), Unit::Mib);
        assert_eq!(Unit::of(-(10 << 30)), Unit::Gib);
        assert_eq!(Unit::Kib.figure(61_440), "60");
        assert_eq!(Unit::Mib.figure(8_392_704), "8.0");
        assert_eq!(Unit::Mib.figure(4096), "<0.1");
        assert_eq!(Unit::Mib.figure(0), "0.0");
        assert_eq!(Unit::Mib.figure(-(3 << 19)), "-1.5");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(size(4096), "4 KiB");
    }
}
