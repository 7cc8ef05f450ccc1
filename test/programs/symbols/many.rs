// many.rs - Rust: closures, iterators, generics and traits, nearly all of it inlined.
//
// Runs in: nothing; test_symbolize.py compiles it and looks up addresses in it.
//
// SPDX-License-Identifier: Apache-2.0
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

trait Shape {
    fn area(&self) -> f64;
    fn scaled(&self, by: f64) -> f64 {
        self.area() * by * by
    }
}

struct Square(f64);
struct Circle {
    radius: f64,
}

impl Shape for Square {
    fn area(&self) -> f64 {
        self.0 * self.0
    }
}

impl Shape for Circle {
    fn area(&self) -> f64 {
        3.14159 * self.radius.powi(2)
    }
}

mod inner {
    pub fn mix(h: u64) -> u64 {
        let h = (h ^ (h >> 33)).wrapping_mul(0xff51afd7ed558ccd);
        h ^ (h >> 29)
    }

    pub struct Stack<T> {
        items: Vec<T>,
    }

    impl<T: Clone + PartialOrd> Stack<T> {
        pub fn new() -> Self {
            Stack { items: Vec::new() }
        }
        #[inline(never)]
        pub fn push(&mut self, item: T) {
            self.items.push(item);
            let n = self.items.len();
            if n > 1 && self.items[n - 2] > self.items[n - 1] {
                self.items.swap(n - 2, n - 1);
            }
        }
        #[inline(never)]
        pub fn top(&self) -> Option<T> {
            self.items.last().cloned()
        }
    }
}

#[inline(never)]
fn words(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for w in text.split_whitespace().filter(|w| w.len() > 2).map(|w| w.to_lowercase()) {
        *counts.entry(w).or_insert(0) += 1;
    }
    counts
}

#[inline(never)]
fn by_length(of: &BTreeMap<String, usize>) -> HashMap<usize, Vec<&str>> {
    let mut found: HashMap<usize, Vec<&str>> = HashMap::new();
    for (w, _) in of {
        found.entry(w.len()).or_default().push(w);
    }
    found
}

#[inline(never)]
fn sorted<T: Ord + Debug + Clone>(of: &[T]) -> Vec<T> {
    let mut v = of.to_vec();
    v.sort_by(|a, b| b.cmp(a));
    v
}

#[inline(never)]
fn parse(s: &str) -> Result<i64, std::num::ParseIntError> {
    let n: i64 = s.trim().parse()?;
    Ok((0..n).map(|x| inner::mix(x as u64) as i64 & 0xff).filter(|x| x % 3 == 0).sum())
}

fn main() {
    let n = std::env::args().count();
    let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(n as f64)), Box::new(Circle { radius: n as f64 })];
    let area: f64 = shapes.iter().map(|s| s.scaled(2.0)).sum();
    let mut numbers = inner::Stack::new();
    let mut names = inner::Stack::new();
    for i in 0..100u64 {
        numbers.push(inner::mix(i));
        names.push(format!("name {}", i));
    }
    let counts = words("the quick brown Fox jumps over the lazy dog and the cat");
    let lengths = by_length(&counts);
    println!("{} {:?} {:?} {:?} {} {:?} {:?}", area, numbers.top(), names.top(), counts, lengths.len(),
             sorted(&[3, 1, 2]), sorted(&["c".to_string(), "a".to_string()]));
    println!("{:?} {:?}", parse(" 42 "), parse("x"));
}
