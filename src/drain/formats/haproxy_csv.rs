//! HAProxy's `;csv` page: of each frontend that is named, its current sessions and what is queued at it.
//! Measured with HAProxy 2.6: a session that waits for its next request is counted, each page that is asked for is a
//! session of the frontend that serves it, frontends leave `qcur` empty, and every line ends with a line feed.

use std::collections::BTreeSet;

use super::{Why, number};

const FORM: &str = "HAProxy's CSV page";

/// The sum over these frontends. Each has to be there, and once: HAProxy with several processes shows the page of
/// only one of them, and a page that was put together of some may have one twice.
pub(super) fn parse(text: &str, frontends: &BTreeSet<String>) -> Result<u64, Why> {
    if !text.ends_with('\n') {
        return Err(Why::CutOff);
    }
    let table = text.strip_prefix("# ").ok_or(Why::NotThis(FORM))?;
    // It refuses lines of another number of columns than the first.
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header = reader.headers().map_err(|_| Why::NotThis(FORM))?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let needed = |name: &str| column(name).ok_or(Why::NotThis(FORM));
    let (proxy, service, sessions) = (needed("pxname")?, needed("svname")?, needed("scur")?);
    let queued = column("qcur");

    let mut missing: BTreeSet<&str> = frontends.iter().map(String::as_str).collect();
    let mut sum = 0;
    for line in reader.records() {
        let line = line.map_err(|_| Why::NotThis(FORM))?;
        let cell = |column: usize| line.get(column).unwrap_or_default();
        if cell(service) != "FRONTEND" || !frontends.contains(cell(proxy)) {
            continue;
        }
        if !missing.remove(cell(proxy)) {
            return Err(Why::Twice(format!("frontend {}", cell(proxy))));
        }
        sum += number::parse(cell(sessions))?;
        if let Some(waiting) = queued.map(cell).filter(|waiting| !waiting.is_empty()) {
            sum += number::parse(waiting)?;
        }
    }
    missing.first().map_or(Ok(sum), |name| Err(Why::Missing(format!("frontend {name}"))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As HAProxy 2.6 writes it, less the columns after these.
    const PAGE: &str = "\
# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,
web,FRONTEND,,,3,9,100,14,OPEN,
stats,FRONTEND,,,1,1,100,2,OPEN,
tcp-in,FRONTEND,,,2,2,100,7,OPEN,
tcp-in,s,4,4,5,5,,0,no check,
tcp-in,BACKEND,4,4,5,5,10,0,UP,
\"a,b\",BACKEND,0,0,0,0,10,0,UP,
";

    fn counted(text: &str, frontends: &[&str]) -> Result<u64, Why> {
        parse(text, &frontends.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_sessions_of_the_named_frontends_are_added_up_and_no_others() {
        assert_eq!(counted(PAGE, &["web"]), Ok(3));
        assert_eq!(counted(PAGE, &["web", "tcp-in"]), Ok(5));
        assert_eq!(counted("# pxname,svname,scur,\nweb,FRONTEND,0,\n", &["web"]), Ok(0));
    }

    #[test]
    fn columns_are_found_by_their_names_and_what_is_queued_counts() {
        let page = "# scur,svname,new,pxname,qcur,\n2,FRONTEND,x,web,5,\n";
        assert_eq!(counted(page, &["web"]), Ok(7));
    }

    #[test]
    fn a_frontend_that_is_not_there_or_there_twice_is_unknown() {
        assert_eq!(counted(PAGE, &["web", "nope"]), Err(Why::Missing("frontend nope".to_owned())));
        assert_eq!(counted(PAGE, &["a,b"]), Err(Why::Missing("frontend a,b".to_owned())));
        let twice = format!("{PAGE}web,FRONTEND,,,0,9,100,14,OPEN,\n");
        assert_eq!(counted(&twice, &["web"]), Err(Why::Twice("frontend web".to_owned())));
    }

    #[test]
    fn another_page_or_half_of_it_is_unknown() {
        for text in ["<html>\n", "pxname,svname,scur,\n", "# pxname,svname,\n", "# \n"] {
            assert_eq!(counted(text, &["web"]), Err(Why::NotThis(FORM)), "{text}");
        }
        assert_eq!(counted(PAGE.trim_end(), &["web"]), Err(Why::CutOff));
        assert_eq!(
            counted("# pxname,svname,scur,\nweb,FRONTEND\n", &["web"]),
            Err(Why::NotThis(FORM)),
            "a short line"
        );
    }

    #[test]
    fn a_value_that_is_no_count_is_unknown() {
        for (value, why) in [("", Why::NotANumber), ("x", Why::NotANumber), ("-1", Why::Negative)] {
            let page = format!("# pxname,svname,qcur,scur,\nweb,FRONTEND,,{value},\n");
            assert_eq!(counted(&page, &["web"]), Err(why), "{value}");
        }
        let page = "# pxname,svname,qcur,scur,\nweb,FRONTEND,x,0,\n";
        assert_eq!(counted(page, &["web"]), Err(Why::NotANumber));
    }

    proptest! {
        #[test]
        fn any_sessions_are_added_up_and_no_part_of_the_page_counts_less(
            sessions in prop::collection::vec(0_u64..100_000, 1..5), cut in any::<prop::sample::Index>(),
        ) {
            let names: Vec<String> = (0..sessions.len()).map(|n| format!("f{n}")).collect();
            let lines = names.iter().zip(&sessions).map(|(name, count)| format!("{name},FRONTEND,{count},\n"));
            let page = format!("# pxname,svname,scur,\n{}other,FRONTEND,9,\n", lines.collect::<String>());
            let names = names.into_iter().collect();
            let sum = sessions.iter().sum();
            prop_assert_eq!(parse(&page, &names), Ok(sum));
            let part = parse(&page[..cut.index(page.len())], &names);
            prop_assert!(part.is_err() || part == Ok(sum));
        }

        #[test]
        fn any_text_is_a_count_or_unknown(text in "(# pxname,svname,scur\n)?[\"a-c,0-9FRONTED\n-]{0,60}") {
            let _ = counted(&text, &["a"]);
        }
    }
}
