// Holds more and more, or not, as its first argument says, for as many ms as its second one says.
// What leaks is kept by `remember`.
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

#[inline(never)]
fn remember(seen: &mut HashMap<u64, String>, round: u64) {
    for i in 0..100 {
        seen.insert(round * 100 + i, "x".repeat(300));
    }
}

#[inline(never)]
fn forget(bytes: usize) {
    std::mem::forget(std::hint::black_box(vec![1_u8; bytes]));
}

#[inline(never)]
fn recall(recent: &mut VecDeque<String>, round: u64) {
    for i in 0..100 {
        recent.push_back("y".repeat(300 + ((round + i) % 7) as usize));
        if recent.len() > 2000 {
            recent.pop_front();
        }
    }
}

#[inline(never)]
fn index(words: &mut Vec<String>) {
    for _ in 0..1000 {
        words.push("z".repeat(40));
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let how = args.next().expect("how");
    let lasts: u64 = args.next().and_then(|ms| ms.parse().ok()).expect("ms");
    let (begun, lasts) = (Instant::now(), Duration::from_millis(lasts));
    let (mut seen, mut recent, mut words) = (HashMap::new(), VecDeque::new(), Vec::new());
    let mut round = 0;
    while begun.elapsed() < lasts {
        match how.as_str() {
            "map" => remember(&mut seen, round),
            "forget" => forget(40_000),
            "bounded" => recall(&mut recent, round),
            // Nothing for two thirds of the time, then an index, and the end.
            "builds" if begun.elapsed() * 3 > lasts * 2 => {
                while begun.elapsed() < lasts {
                    index(&mut words);
                }
            }
            "builds" => {}
            _ => panic!("how"),
        }
        round += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    std::hint::black_box((&seen, &recent, &words));
}
