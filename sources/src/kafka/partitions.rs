//! A choice of partitions, as `partitionLimitation` writes it. It never knows which partitions a topic has.

use std::str::FromStr;

/// Numbers of partitions: single ones and ranges, both ends included. Equal choices are equal however they are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partitions(Vec<(i32, i32)>);

impl Partitions {
    /// Whether `partition` is one of them.
    #[must_use]
    pub fn contains(&self, partition: i32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&partition))
    }
}

impl FromStr for Partitions {
    type Err = ();

    /// Understands `1,2,10-20`.
    fn from_str(written: &str) -> Result<Self, ()> {
        // Without i32's minus and plus signs.
        let number = |digits: &str| {
            let digits = digits.trim();
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                digits.parse::<i32>().map_err(|_| ())
            } else {
                Err(())
            }
        };
        let mut ranges = Vec::new();
        for part in written.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(());
            }
            ranges.push((first, last));
        }
        ranges.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self(merged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_numbers_and_ranges_are_one_choice() {
        let parse = |written: &str| written.parse::<Partitions>();
        assert_eq!(parse("1,2,10-20"), Ok(Partitions(vec![(1, 2), (10, 20)])));
        assert_eq!(parse(" 10 - 20 , 2 , 1 "), parse("1,2,10-20"));
        assert_eq!(parse("5-7,6-9,10"), Ok(Partitions(vec![(5, 10)])));
        assert_eq!(parse("0-2147483647,3"), Ok(Partitions(vec![(0, i32::MAX)])));
        let some = parse("1,4-5").expect("good");
        assert_eq!((0..7).filter(|partition| some.contains(*partition)).collect::<Vec<_>>(), [1, 4, 5]);
        for bad in ["", ",", "1,", "a", "-1", "1--2", "3-1", "1-2-3", "+1", "2147483648", "1 2"] {
            assert_eq!(parse(bad), Err(()), "{bad:?}");
        }
    }
}
