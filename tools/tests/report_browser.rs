//! The page of `mmprm report` in a browser: it runs without errors, filters, opens problems and trees, can be used with the
//! keyboard, and all its controls have names. Skipped where there is no Chromium.
#![cfg(unix)]

#[path = "../../tests/support/skips.rs"]
mod skips;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A candidate's text that would run if it were markup.
const HOSTILE: &str = "</script><img src=x onerror=\"document.title='run'\"> ]]> <!-- $a<b$";

/// Names of the browser, in the order they are tried.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn browser() -> Option<&'static str> {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = BROWSERS.into_iter().find(runs);
    if found.is_none() {
        skips::skip("no Chromium");
    }
    found
}

/// A page about five problems, one of them with a search tree, and a training run.
fn page(folder: &Path) -> PathBuf {
    let record = |id: usize, scores: [f64; 3]| {
        json!({"id": format!("p{id}"), "question": format!("What is $1+{id}$? {HOSTILE}"), "correct_answer": "2",
            "family": if id.is_multiple_of(2) { "even" } else { "odd" }, "image_path": "images/test-2-00000.png",
            "solutions_splits": [["We add.", "Answer: 3"], [HOSTILE, "Answer: 2"], ["Count.", "Answer: 3"]],
            "labels": [0, 1, 0], "prm_scores": scores.map(|score| [0.9, score])})
    };
    let failed = json!({"id": "p4", "question": "q", "solutions_splits": [], "labels": [], "error": "no image", "prm_scores": []});
    let sets = json!([
        record(0, [0.1, 0.9, 0.2]),
        record(1, [0.9, 0.1, 0.2]),
        record(2, [0.3, 0.8, 0.1]),
        record(3, [0.4, 0.8, 0.1]),
        failed
    ]);
    let leaf = |step: &str, value: f64| {
        json!({"partial_solution": [step], "mc_value": value, "visit_count": 1,
        "correct_rollouts": [], "incorrect_rollouts": [], "children": []})
    };
    let mut inner = leaf("We add.", 0.5);
    inner["children"] = json!([leaf("Then we stop.", 0.0), leaf("So $x^2$ is 4.", 1.0)]);
    let tree = json!({"question": "How many?", "answer": "4", "id": "t", "image_path": null, "mc_value": 0.5, "visit_count": 2,
        "correct_rollouts": [], "incorrect_rollouts": [["We add.", "Then we stop."]], "children": [inner]});
    let log = "{\"step\":1,\"loss\":0.7,\"lr\":0.1}\n{\"step\":2,\"loss\":0.5,\"lr\":0.2}\n";
    for (name, text) in [("c.json", sets.to_string()), ("t.json", tree.to_string()), ("log.jsonl", log.to_owned())] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/mini-k12/test");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmprm"));
    command.current_dir(folder).args(["report", "c.json", "t.json", "log.jsonl", "-o", "page.html", "--data-root"]);
    let output = command.arg(data).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("6 problems, 12 candidates, 1 search trees, 1 images"), "{said}");
    folder.join("page.html")
}

/// What a browser makes of a page at an address, after its scripts have run; console messages fail the test.
fn dom(browser: &str, page: &Path, fragment: &str) -> String {
    dom_in(browser, page, fragment, 1200)
}

/// As [`dom`], in a window of this width.
fn dom_in(browser: &str, page: &Path, fragment: &str, width: u32) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--window-size={width},900"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}#{fragment}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    assert!(output.status.success(), "{log}");
    String::from_utf8(output.stdout).unwrap()
}

/// The value that `script`, a function body, returns in a copy of the page that allows it to run.
fn probe(browser: &str, page: &Path, fragment: &str, script: &str) -> Value {
    probe_in(browser, page, fragment, script, 1200)
}

/// As [`probe`], in a window of this width.
fn probe_in(browser: &str, page: &Path, fragment: &str, script: &str, width: u32) -> Value {
    let text = std::fs::read_to_string(page).unwrap();
    let (before, policy) = text.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let (_, after) = policy.split_once('>').unwrap();
    let script = format!(
        "<script>document.body.dataset.probe = (() => {{ try {{ return JSON.stringify((() => {{ {script} }})()); }} \
         catch (error) {{ return JSON.stringify(String(error)); }} }})();</script></body>"
    );
    let copy = page.with_file_name("copy.html");
    std::fs::write(&copy, format!("{before}{}", after.replace("</body>", &script))).unwrap();
    let dom = dom_in(browser, &copy, fragment, width);
    let value = dom.split_once("data-probe=\"").unwrap().1.split_once('"').unwrap().0;
    let value = value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&value).unwrap()
}

fn opened() -> Option<(&'static str, TempDir, PathBuf)> {
    let browser = browser()?;
    let folder = tempfile::tempdir().unwrap();
    let page = page(folder.path());
    Some((browser, folder, page))
}

#[test]
fn the_address_opens_a_problem_and_filters_and_no_text_runs() {
    let Some((browser, _folder, page)) = opened() else { return };
    let dom = dom(browser, &page, "problem=p1&filter=wrong");
    assert!(dom.contains("1 of 6 problems · 1 wrong"), "{dom}");
    assert!(dom.contains("&lt;img src=x onerror") && !dom.contains("<img src=\"x\"") && !dom.contains("<title>run"));
    assert!(dom.contains("<math display=\"inline\"><mi>a</mi><mo>&lt;</mo><mi>b</mi></math>"));
    assert!(dom.contains("<h3 id=\"detail-h\">p1</h3>"));
    assert!(dom.contains("alt=\"Image of the problem: images/test-2-00000.png\""));
    let failed = self::dom(browser, &page, "filter=other");
    assert!(failed.contains("1 of 6 problems · 1 not counted") && failed.contains("Error: no image"));
    let tree = self::dom(browser, &page, "problem=t");
    assert!(tree.contains("role=\"tree\"") && tree.contains("Show search 1 in the tree"));
}

#[test]
fn controls_filter_and_have_names() {
    let Some((browser, _folder, page)) = opened() else { return };
    let result = probe(
        browser,
        &page,
        "",
        r#"
        const count = () => document.getElementById("count").textContent;
        const set = (name, value) => {
            const control = document.querySelector(`#filters [name=${name}]`);
            if (control.type === "checkbox") control.checked = value; else control.value = value;
            control.dispatchEvent(new Event(control.type === "search" ? "input" : "change", { bubbles: true }));
        };
        const steps = {};
        steps.all = count();
        set("filter", "wrong"); steps.wrong = count();
        set("rule", "majority"); steps.majority = count();
        set("filter", "all"); set("group", "even"); steps.group = count();
        set("group", ""); set("rule", ""); set("differ", true); steps.differ = count();
        set("differ", false); set("find", "HOW MANY"); steps.find = count();
        steps.address = location.hash;
        set("find", "");
        const named = (node) => (node.getAttribute("aria-label") || node.textContent.trim() || (node.labels && [...node.labels].map((label) => label.textContent).join("")));
        steps.unnamed = [...document.querySelectorAll("button, select, input, a, summary, [role=img], [tabindex]")].filter((node) => !named(node) && node.id !== "detail").map((node) => node.outerHTML);
        steps.levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((node) => Number(node.tagName[1]));
        steps.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
        document.getElementById("theme").click(); steps.theme = document.documentElement.dataset.theme;
        return steps;
        "#,
    );
    assert_eq!(result["all"], "6 of 6 problems · 3 right · 1 wrong · 1 not counted · 1 with search tree");
    assert_eq!(result["wrong"], "1 of 6 problems · 1 wrong");
    assert_eq!(result["majority"], "4 of 6 problems · 4 wrong");
    assert_eq!(result["group"], "2 of 6 problems · 2 wrong");
    assert_eq!(result["differ"], "3 of 6 problems · 3 right");
    assert_eq!(result["find"], "1 of 6 problems · 1 with search tree");
    assert!(result["address"].as_str().unwrap().contains("find=HOW+MANY"), "{result}");
    assert_eq!((&result["unnamed"], &result["wide"]), (&json!([]), &json!(false)));
    assert_eq!(result["theme"], "dark");
    let levels: Vec<u64> = result["levels"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert_eq!(levels[0], 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
}

#[test]
fn lists_and_trees_are_walked_with_the_keyboard() {
    let Some((browser, _folder, page)) = opened() else { return };
    let result = probe(
        browser,
        &page,
        "problem=t",
        r#"
        const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        const steps = {};
        const rows = [...document.querySelectorAll("[role=treeitem]")];
        const at = () => rows.indexOf(document.activeElement);
        rows[0].focus();
        steps.walk = ["ArrowDown", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowDown", "ArrowUp", "Enter", "End", "Home", "ArrowRight"].map((key) => { press(key); return at(); });
        steps.open = rows.map((row) => row.getAttribute("aria-expanded"));
        steps.tabs = rows.filter((row) => row.tabIndex === 0).length;
        steps.wrong = rows.filter((row) => row.textContent.includes("first wrong step")).map((row) => row.dataset.node);
        document.querySelector(".searches button").click();
        steps.path = rows.filter((row) => row.firstElementChild.classList.contains("on-path")).map((row) => row.dataset.node);
        const buttons = [...document.querySelectorAll("ul[id=list] button")];
        buttons[0].focus(); press("ArrowDown"); steps.list = buttons.indexOf(document.activeElement);
        document.activeElement.click();
        steps.opened = document.getElementById("detail-h").textContent;
        steps.focus = document.activeElement.id;
        return steps;
        "#,
    );
    // The second row closes at ArrowLeft and opens again at Enter; End is the last row that is seen.
    assert_eq!(result["walk"], json!([1, 2, 1, 1, 1, 0, 0, 0, 0, 0]), "{result}");
    assert_eq!(result["wrong"], json!(["0", "1", "2"]), "the row itself and those around it");
    assert_eq!((&result["tabs"], &result["path"]), (&json!(1), &json!(["0", "1", "2"])));
    assert_eq!((&result["list"], &result["opened"], &result["focus"]), (&json!(1), &json!("p1"), &json!("detail")));
}

#[test]
fn a_narrow_window_has_no_overflow() {
    let Some((browser, _folder, page)) = opened() else { return };
    let script = r#"
        const { scrollWidth, clientWidth } = document.documentElement;
        return [innerWidth, scrollWidth - clientWidth, getComputedStyle(document.getElementById("list")).position];
    "#;
    // The narrowest window that Chromium opens.
    let result = probe_in(browser, &page, "problem=p0", script, 500);
    assert_eq!(result, json!([500, 0, "static"]), "one column, and nothing beside it");
}

#[test]
fn compressed_texts_are_read() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let steps: Vec<String> = (0..30_000).map(|at| format!("Step {at} of a long solution, and ${at}$.")).collect();
    let record = json!([{"id": "long", "question": "q", "solutions_splits": [&steps[..3]]}, {"question": "r", "solutions_splits": [steps]}]);
    std::fs::write(folder.path().join("c.json"), record.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmprm"));
    let output = command.current_dir(folder.path()).args(["report", "c.json", "-o", "page.html"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = folder.path().join("page.html");
    assert!(std::fs::read_to_string(&page).unwrap().contains("\"packed\":"));
    let dom = dom(browser, &page, "problem=long");
    assert!(dom.contains("Step 2 of a long solution, and <math") && dom.contains("<mn>2</mn>"));
}
