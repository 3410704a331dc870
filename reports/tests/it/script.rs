//! The page's script, where this machine has a browser: what it finds can be seen, and columns sort
//! in one order. Everything can be read without it, so without a browser this is skipped.

use std::path::PathBuf;
use std::process::Command;

use dyno_reports::html;
use serde_json::Value;

use crate::scenarios;

/// What a reader does, and what is to be seen then; the answers end up in an element of the page.
const READER: &str = r#"
const answers = {};
const rows = () => Array.from(document.querySelectorAll("table.series:not(.folds) > tbody"))
  .filter((body) => !body.closest(".grid"));
const isOpen = (element) => {
  for (let fold = element.closest("details"); fold; fold = fold.parentElement.closest("details"))
    if (!fold.open) return false;
  return true;
};
const folds = () => Array.from(document.querySelectorAll("details")).map((fold) => fold.open);
const input = document.querySelector("input[type=search]");
const type = (text) => { input.value = text; input.dispatchEvent(new Event("input")); };
const before = folds();
answers.finds = [];
for (const text of ["wall", "max-rss", "fib", "zebra"]) {
  type(text);
  const left = rows().filter((body) => !body.hidden);
  answers.finds.push({
    text,
    said: document.querySelector("[role=status]").textContent,
    left: left.length,
    all: rows().length,
    seen: left.filter(isOpen).length,
    named: left.filter((body) => body.dataset.name.toLowerCase().includes(text)).length,
  });
}
type("");
answers.restored = JSON.stringify(folds()) === JSON.stringify(before);
answers.columns = [];
for (const table of document.querySelectorAll("table.series:not(.folds):not(.grid)")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const words = () => Array.from(table.tBodies).map((body) => {
      const cell = body.rows[0].cells[column];
      return cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
    });
    const click = () => { head.querySelector("button").click(); return words(); };
    const up = click();
    answers.columns.push({ head: head.textContent, up, down: click(), again: click(), sort: head.getAttribute("aria-sort") });
  });
}
const place = document.createElement("pre");
place.id = "answers";
place.textContent = JSON.stringify(answers);
document.body.append(place);
"#;

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    found.into_iter().find(|program| program.is_file())
}

/// The answers of a reader of `page`; `None` without a browser.
fn read_page(page: &str) -> Option<Value> {
    let Some(browser) = browser() else {
        eprintln!("skipped: no browser");
        return None;
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("script");
    std::fs::create_dir_all(&folder).unwrap();
    // The page lets no script run but its own.
    let (before, rest) = page.split_once("<meta http-equiv").expect("a policy");
    let (_, rest) = rest.split_once("/>").expect("its end");
    let page =
        format!("{before}{rest}").replace("</body>", &format!("<script>{READER}</script></body>"));
    let file = folder.join("page.html");
    std::fs::write(&file, page).unwrap();
    let mut chromium = Command::new(browser);
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    chromium.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    chromium.args(["--disable-component-update", "--disable-dev-shm-usage", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    chromium.arg(format!("file://{}", file.display()));
    let output = chromium.output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, answers) = dom.split_once("<pre id=\"answers\">").unwrap_or_else(|| panic!("{dom}"));
    let (answers, _) = answers.split_once("</pre>").unwrap();
    let answers = answers.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Some(serde_json::from_str(&answers.replace("&nbsp;", "\u{a0}")).unwrap())
}

/// What a cell is sorted by: its first number and the unit of that, or its text.
fn plain(word: &str) -> String {
    let dense: String = word.chars().filter(|c| !c.is_whitespace() && *c != ',').collect();
    let dense = dense.replace('−', "-");
    let dense = dense.trim_start_matches('<');
    let is_of_number = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let end = dense.find(|c| !is_of_number(c)).unwrap_or(dense.len());
    let unit: String = dense[end..].chars().take_while(|c| c.is_alphabetic()).collect();
    match dense[..end].parse::<f64>() {
        Ok(number) => format!("{number}{unit}"),
        Err(_) => word.to_string(),
    }
}

#[test]
fn what_is_found_is_seen_and_columns_have_one_order() {
    let Some(answers) = read_page(&html(&scenarios::rustc().view())) else { return };
    for found in answers["finds"].as_array().unwrap() {
        let number = |key: &str| found[key].as_u64().unwrap();
        assert_eq!(found["said"], format!("{} of {} rows", number("left"), number("all")));
        assert_eq!(number("left"), number("seen"), "in a closed fold: {found}");
        assert_eq!(number("left"), number("named"), "{found}");
    }
    let left: Vec<u64> =
        answers["finds"].as_array().unwrap().iter().map(|f| f["left"].as_u64().unwrap()).collect();
    assert!(left[0] > 0 && left[3] == 0, "{left:?}");
    assert_eq!(answers["restored"], true, "folds are as they were");
    let columns = answers["columns"].as_array().unwrap();
    assert!(columns.len() > 5);
    for column in columns {
        let words = |key: &str| -> Vec<String> {
            let words = column[key].as_array().unwrap();
            words.iter().map(|word| plain(word.as_str().unwrap())).collect()
        };
        let (up, down) = (words("up"), words("down"));
        assert_eq!(up, words("again"), "{column}");
        assert_eq!(column["sort"], "ascending");
        // What has no value comes last either way, and the rest is the reverse.
        let values = |words: &[String]| words.iter().position(|w| w == "–").unwrap_or(words.len());
        let (with_up, with_down) = (values(&up), values(&down));
        assert_eq!(with_up, with_down, "{column}");
        assert!(up[with_up..].iter().all(|word| word == "–"), "{column}");
        let mut reversed = down[..with_down].to_vec();
        reversed.reverse();
        assert_eq!(reversed, up[..with_up], "{column}");
        let numbers: Vec<f64> = up.iter().map_while(|word| word.parse().ok()).collect();
        assert!(numbers.is_sorted(), "{column}");
    }
}
