//! nginx's `stub_status` page. Its active connections include the idle ones and the one that asks
//! (measured: a server without clients says 1).

use super::Why;

const ACTIVE: &str = "Active connections:";

/// The active connections less the one that asks.
pub(super) fn parse(text: &str) -> Result<u64, Why> {
    let mut lines = text.lines();
    let active = lines
        .next()
        .and_then(|line| line.trim().strip_prefix(ACTIVE))
        .ok_or(Why::NotThis("nginx's stub_status page"))?;
    // The last line of the page; without it, the rest may be cut off as well.
    if !lines.any(|line| line.starts_with("Reading:")) {
        return Err(Why::CutOff);
    }
    let active: u64 = active.trim().parse().map_err(|_| Why::NotANumber)?;
    active.checked_sub(1).ok_or(Why::ZeroWithAsker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(active: &str) -> String {
        format!(
            "Active connections: {active} \nserver accepts handled requests\n 16630948 16630948 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n"
        )
    }

    #[test]
    fn the_one_that_asks_is_not_counted() {
        assert_eq!(parse(&page("291")), Ok(290));
        assert_eq!(parse(&page("1")), Ok(0));
    }

    #[test]
    fn zero_is_impossible_and_so_unknown() {
        assert_eq!(parse(&page("0")), Err(Why::ZeroWithAsker));
    }

    #[test]
    fn another_page_or_half_of_it_is_unknown() {
        assert_eq!(parse("<html>404</html>"), Err(Why::NotThis("nginx's stub_status page")));
        assert_eq!(parse("Active connections: 1"), Err(Why::CutOff));
        assert_eq!(parse(&page("-1")), Err(Why::NotANumber));
        assert_eq!(parse(&page("")), Err(Why::NotANumber));
    }
}
