"use strict";
// The page's behaviour: the theme, and the list of problems with its filters. Texts reach the page as text nodes; the only
// markup inserted is the MathML that the report was made with. The state is in the address, so that links show the same.
(async () => {
  const byId = (id) => document.getElementById(id);
  const el = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  };

  const theme = byId("theme");
  const setTheme = (name, keep) => {
    document.documentElement.dataset.theme = name;
    theme.setAttribute("aria-label", name === "dark" ? "Use light colours" : "Use dark colours");
    theme.textContent = name === "dark" ? "☀" : "☾";
    if (keep) try { localStorage.setItem("mmprm-theme", name); } catch { /* a file may have no storage */ }
  };
  const parameters = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  let kept = null;
  try { kept = localStorage.getItem("mmprm-theme"); } catch { /* as above */ }
  const usual = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  setTheme([parameters().get("theme"), kept].find((name) => name === "dark" || name === "light") || usual, false);
  theme.addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true));

  // The row of a rule shows its line in the chart.
  for (const row of document.querySelectorAll("#main tbody tr")) {
    const name = row.firstElementChild.firstChild;
    const lines = () => [...row.closest("section").querySelectorAll("[data-line]")];
    const mark = (on) => lines().forEach((line) => line.classList.toggle("on", on && name && line.dataset.line === name.textContent.trim()));
    row.addEventListener("mouseenter", () => mark(true));
    row.addEventListener("mouseleave", () => mark(false));
  }

  const data = byId("data");
  if (!data) return;
  // Many texts are compressed.
  const unpack = (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  };
  const parsed = JSON.parse(data.textContent);
  if (parsed.packed) {
    byId("count").textContent = "Reading the problems…";
    Object.assign(parsed, await unpack(parsed.packed));
  }
  const { runs, problems, texts, math, images } = parsed;

  const formulas = [];
  const formula = (index) => {
    if (!formulas[index]) {
      const template = document.createElement("template");
      template.innerHTML = math[index];
      formulas[index] = template.content;
    }
    return formulas[index];
  };
  const rich = (index) => {
    const text = texts[index];
    const parts = Array.isArray(text) ? text : [text];
    return parts.map((part) => (typeof part === "number" ? formula(part).cloneNode(true) : document.createTextNode(part)));
  };
  const plain = (index) => {
    const text = texts[index];
    return Array.isArray(text) ? text.map((part) => (typeof part === "number" ? formula(part).textContent : part)).join("") : text;
  };

  // What rules compare, as the report computes it; scores here are rounded, so the choice itself comes from the report.
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const aggregate = {
    min: (s) => Math.min(...s),
    last: (s) => s[s.length - 1],
    product: (s) => s.reduce((product, value) => product * value, 1),
    average: (s) => sum(s) / s.length,
    sum_logprob: (s) => sum(s.map((p) => (p > 0 ? Math.log(p) : -9999))),
    max: (s) => Math.max(...s),
    sum_logit: (s) => sum(s.map((p) => (p >= 1 ? 9999 : p > 0 ? Math.log(p / (1 - p)) : -9999))),
    mean_odd: (s) => sum(s.map((p) => (p < 1 ? p / (1 - p) : 9999))) / s.length,
  };
  const [STEPS, SCORES, LABEL, ANSWER, WRONG, ERROR, LOGPROBS] = [0, 1, 2, 3, 4, 5, 6];
  const values = (problem, rule) => {
    const own = (name) => (c) => (c[SCORES] && c[SCORES].length ? aggregate[name](c[SCORES]) : -Infinity);
    const votes = (weight) => {
      const sums = {};
      problem.c.forEach((c) => { if (c[ANSWER] !== null) sums[c[ANSWER]] = (sums[c[ANSWER]] || 0) + weight(c); });
      return problem.c.map((c) => (c[ANSWER] === null ? -Infinity : sums[c[ANSWER]]));
    };
    if (rule === "majority") return votes(() => 1);
    if (rule.startsWith("weighted_vote_")) return votes((c) => Math.max(own(rule.slice(14))(c), 0));
    if (rule.startsWith("logprob_")) return problem.c.map((c) => (c[LOGPROBS] ? c[LOGPROBS][rule === "logprob_mean" ? 1 : 0] ?? -Infinity : -Infinity));
    return problem.c.map(own(rule));
  };
  const shown = (value) => {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    return size !== 0 && size < 0.0005 ? value.toExponential(0) : value.toFixed(size >= 100 ? 0 : size >= 10 ? 2 : 3);
  };
  const precise = (value) => (value !== 0 && Math.abs(value) < 0.1 ? (Math.abs(value) < 1e-4 ? value.toExponential(1) : value.toPrecision(2)) : shown(value));

  const state = { problem: null, isAsked: false, filter: "all", rule: "", group: "", find: "", differ: false, run: "" };
  const ruleOf = (problem) => {
    const run = runs[problem.run];
    const index = run.rules.indexOf(state.rule);
    return index >= 0 ? index : run.rule;
  };
  const outcome = (problem) => {
    if (problem.status !== "counted") return problem.status;
    const choice = problem.chosen[ruleOf(problem)];
    return choice >= 0 && problem.c[choice][LABEL] === 1 ? "right" : "wrong";
  };
  const differs = (problem) => {
    const run = runs[problem.run];
    const [majority, usual] = [run.rules.indexOf("majority"), ruleOf(problem)];
    const [a, b] = [problem.chosen[majority], problem.chosen[usual === majority ? run.rule : usual]];
    return a >= 0 && b >= 0 && problem.c[a][ANSWER] !== problem.c[b][ANSWER];
  };
  const groupOf = (problem) => problem.group ?? "";
  const MARKS = { right: ["✓", "right"], wrong: ["✗", "wrong"], tree: ["⋔", "search tree"], failed: ["–", "failed"], unlabelled: ["–", "without labels"], unscored: ["–", "not scored"] };
  const haystack = (problem) => {
    problem.text ??= [problem.id, plain(problem.q), problem.gold !== null && problem.gold !== undefined ? plain(problem.gold) : "", ...problem.c.flatMap((c) => c[STEPS].map(plain))].join("\n").toLowerCase();
    return problem.text;
  };
  const matches = (problem) => {
    const found = outcome(problem);
    const kinds = { all: true, right: found === "right", wrong: found === "wrong", other: !["right", "wrong", "tree"].includes(found), tree: Boolean(problem.tree) };
    return (kinds[state.filter] ?? true)
      && (state.run === "" || String(problem.run) === state.run)
      && (state.group === "" || groupOf(problem) === state.group)
      && (!state.differ || differs(problem))
      && (state.find === "" || haystack(problem).includes(state.find.toLowerCase()));
  };

  const form = byId("filters");
  const select = (key, label, options) => {
    const control = el("select", { name: key, onchange: () => { state[key] = control.value; update(); } }, options.map(([value, name]) => el("option", { value }, name)));
    form.append(el("label", {}, label, control));
    return control;
  };
  const unique = (list) => [...new Set(list)];
  const controls = {};
  if (runs.length > 1) controls.run = select("run", "Input", [["", "all"], ...runs.map((run, index) => [String(index), run.name])]);
  const rules = unique(runs.flatMap((run) => run.rules));
  if (rules.length) controls.rule = select("rule", "Chosen by", [["", `usual (${unique(runs.filter((run) => run.rule !== null).map((run) => run.rules[run.rule])).join(", ")})`], ...rules.map((rule) => [rule, rule])]);
  const kinds = [["all", "all"], ["right", "right"], ["wrong", "wrong"], ["other", "not counted"]];
  if (problems.some((problem) => problem.tree)) kinds.push(["tree", "with search tree"]);
  controls.filter = select("filter", "Outcome", kinds);
  const groups = unique(problems.map(groupOf)).filter((group) => group !== "").sort();
  const by = unique(runs.map((run) => run.by).filter(Boolean)).join(" or ");
  if (groups.length) controls.group = select("group", by, [["", "all"], ...groups.map((group) => [group, group])]);
  controls.find = el("input", { type: "search", name: "find", oninput: () => { state.find = controls.find.value; update(); } });
  form.append(el("label", {}, "Text", controls.find));
  if (rules.length > 1) {
    controls.differ = el("input", { type: "checkbox", name: "differ", onchange: () => { state.differ = controls.differ.checked; update(); } });
    form.append(el("label", { class: "check" }, controls.differ, "chosen differs from majority"));
  }
  form.addEventListener("submit", (event) => event.preventDefault());

  const list = byId("list");
  const PAGE = 300;
  let found = [];
  let limit = PAGE;
  const button = (problem) => {
    const [mark, name] = MARKS[outcome(problem)];
    const kind = { "✓": "right", "✗": "wrong" }[mark] || "none";
    const agreement = problem.chosen.length && problem.c.length ? values(problem, "majority") : [];
    const choice = problem.chosen[ruleOf(problem)];
    const agree = choice >= 0 && agreement[choice] > 0 ? `${agreement[choice]}/${problem.c.length} agree` : "";
    const side = [groupOf(problem), agree].filter(Boolean).join(" · ");
    return el("button", { type: "button", "aria-current": problem === state.problem ? "true" : "false", onclick: () => open(problem, true) },
      el("span", { class: `outcome ${kind}`, role: "img", "aria-label": name }, mark),
      el("span", { class: "id" }, problem.id), el("span", { class: "side" }, side),
      el("span", { class: "q" }, plain(problem.q).slice(0, 200)));
  };
  const draw = () => {
    const rows = found.slice(0, limit).map((problem) => el("li", {}, button(problem)));
    if (found.length > limit) rows.push(el("li", {}, el("button", { type: "button", class: "more", onclick: () => { limit += PAGE; draw(); } }, `${found.length - limit} more`)));
    list.replaceChildren(...rows);
  };
  list.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    buttons[Math.min(Math.max(next, 0), buttons.length - 1)].focus();
  });
  const update = () => {
    found = problems.filter(matches);
    limit = Math.max(PAGE, found.indexOf(state.problem) + 1);
    const tally = (kind) => found.filter((problem) => outcome(problem) === kind).length;
    const other = found.filter((problem) => problem.status !== "counted" && problem.status !== "tree").length;
    const counts = [[tally("right"), "right"], [tally("wrong"), "wrong"], [other, "not counted"], [found.filter((problem) => problem.tree).length, "with search tree"]];
    byId("count").textContent = [`${found.length} of ${problems.length} problems`, ...counts.filter(([count]) => count).map(([count, name]) => `${count} ${name}`)].join(" · ");
    draw();
    const current = list.querySelector("[aria-current=true]");
    if (current) {
      const [own, all] = [current.getBoundingClientRect(), list.getBoundingClientRect()];
      if (own.top < all.top || own.bottom > all.bottom) list.scrollTop += own.top - all.top - all.height / 3;
    }
    remember();
    if (state.problem) show(state.problem);
  };
  const named = (id, run) => problems.find((problem) => problem.id === id && (run === null || String(problem.run) === run));
  const remember = () => {
    const kept = new URLSearchParams();
    if (state.problem && state.isAsked) {
      kept.set("problem", state.problem.id);
      // Several inputs may have problems of the same name.
      if (named(state.problem.id, null) !== state.problem) kept.set("of", state.problem.run);
    }
    for (const key of ["filter", "rule", "group", "find", "run"]) if (state[key] && state[key] !== "all") kept.set(key, state[key]);
    if (state.differ) kept.set("differ", "1");
    const text = kept.toString();
    if (text !== parameters().toString()) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };

  const chip = (value, low, high, none) => {
    if (value === null || value === undefined) return el("span", { class: "score none" }, none || "–");
    const node = el("span", { class: "score" }, shown(value));
    node.style.setProperty("--s", Math.min(Math.max((value - low) / (high - low || 1), 0), 1).toFixed(3));
    return node;
  };
  const tag = (text, kind) => el("span", { class: `tag ${kind || ""}` }, text);
  const verdict = (label) => (label === 1 ? tag("✓ right", "good") : label === 0 ? tag("✗ wrong", "bad") : tag("no label"));

  const candidate = (problem, index, value, marks) => {
    const c = problem.c[index];
    const equal = problem.c.filter((other) => other[ANSWER] === c[ANSWER]).length;
    const { scale: [low, high], scored } = runs[problem.run];
    const wrong = c[WRONG];
    const steps = c[STEPS].map((step, at) => el("li", { class: wrong !== null && wrong >= 0 && at > wrong ? "after" : null },
      scored ? chip(c[SCORES] ? c[SCORES][at] : null, low, high) : el("span", { class: "score none" }, String(at + 1)),
      el("span", {}, rich(step), at === wrong ? [" ", tag(`first wrong step${c[ERROR] ? `: ${c[ERROR]}` : ""}`, "bad")] : [])));
    return el("li", { class: `candidate${marks.includes("chosen") ? " is-chosen" : ""}` },
      el("div", { class: "head" }, el("span", { class: "value" }, precise(value)), el("small", {}, `candidate ${index + 1}`),
        marks.map((mark) => tag(mark, mark === "chosen" ? "chosen" : "")), verdict(c[LABEL]),
        c[ANSWER] === null ? el("span", { class: "answer" }, "no steps") : el("span", { class: "answer" }, "answer ", rich(c[ANSWER]), ` · ${equal} of ${problem.c.length}`)),
      steps.length ? el("ol", { class: "steps" }, steps) : null);
  };
  const candidates = (problem) => {
    const run = runs[problem.run];
    const rule = ruleOf(problem);
    const name = run.rules[rule];
    const [choice, majority] = [problem.chosen[rule], problem.chosen[run.rules.indexOf("majority")]];
    const value = values(problem, name);
    const order = problem.c.map((_, index) => index).sort((a, b) => (b === choice) - (a === choice) || value[b] - value[a] || a - b);
    const marks = (index) => [index === choice ? "chosen" : null, index === majority && choice !== majority ? "majority" : null, index === majority && choice === majority ? "also majority" : null].filter(Boolean);
    return [el("h4", {}, `Candidates by value (${name})`), el("ol", { class: "candidates" }, order.map((index) => candidate(problem, index, value[index], marks(index))))];
  };

  // A state of a tree is [steps, MC value, visits, correct rollouts, incorrect rollouts, children].
  const tree = (problem) => {
    const drawn = problem.tree;
    const rows = [];
    const wrong = new Set(drawn.searches.flatMap((search) => {
      const last = search.probes.filter(([, , end]) => end - 1 === search.wrong).pop();
      return last ? [last[0]] : [];
    }));
    const item = (node, level, position, size, depth) => {
      const number = rows.length;
      const [steps, value, visits, correct, incorrect, children] = node;
      const isWrong = wrong.has(number);
      const rollouts = [correct ? `${correct} right` : "", incorrect ? `${incorrect} wrong` : ""].filter(Boolean).join(" and ");
      const meta = [visits === 1 ? "1 visit" : visits ? `${visits} visits` : "", rollouts && `${rollouts} rollout${correct + incorrect === 1 ? "" : "s"}`].filter(Boolean).join(" · ");
      const text = steps.length ? steps.map((step) => el("span", { class: "step" }, rich(step), " ")) : "The question ";
      const row = el("div", { class: "node" }, el("span", { class: "caret", "aria-hidden": "true" }), chip(value, 0, 1),
        el("span", {}, text, isWrong ? [tag("first wrong step", "bad"), " "] : [], el("span", { class: "meta" }, meta)));
      const label = `MC ${shown(value)}${meta && `, ${meta}`}${isWrong ? ", first wrong step" : ""}: ${steps.length ? steps.map(plain).join(" ") : "the question"}`;
      const li = el("li", { role: "treeitem", tabindex: number ? "-1" : "0", "aria-level": level, "aria-posinset": position, "aria-setsize": size,
        "aria-expanded": children.length ? String(depth < 2) : null, "aria-label": label, "data-node": number }, row);
      rows.push(li);
      if (children.length) li.append(el("ul", { role: "group" }, children.map((child, at) => item(child, level + 1, at + 1, children.length, depth + 1))));
      return li;
    };
    const all = el("ul", { class: "tree", role: "tree", "aria-label": "Search tree" }, item(drawn.root, 1, 1, 1, 0));
    const visible = () => rows.filter((row) => !row.parentElement.closest("[aria-expanded=false]"));
    const go = (row) => { rows.forEach((other) => other.setAttribute("tabindex", "-1")); row.setAttribute("tabindex", "0"); row.focus(); };
    const toggle = (row, isOpen) => { if (row.hasAttribute("aria-expanded")) row.setAttribute("aria-expanded", String(isOpen ?? row.getAttribute("aria-expanded") === "false")); };
    all.addEventListener("click", (event) => {
      const row = event.target.closest("[role=treeitem]");
      if (row && event.target.closest(".node")) { toggle(row); go(row); }
    });
    all.addEventListener("keydown", (event) => {
      const row = event.target.closest("[role=treeitem]");
      const seen = visible();
      const at = seen.indexOf(row);
      const isOpen = row.getAttribute("aria-expanded");
      const parent = row.parentElement.closest("[role=treeitem]");
      const child = row.querySelector("[role=treeitem]");
      const keys = {
        ArrowDown: () => at + 1 < seen.length && go(seen[at + 1]),
        ArrowUp: () => at > 0 && go(seen[at - 1]),
        ArrowRight: () => (isOpen === "false" ? toggle(row, true) : child && go(child)),
        ArrowLeft: () => (isOpen === "true" ? toggle(row, false) : parent && go(parent)),
        Home: () => go(seen[0]),
        End: () => go(seen[seen.length - 1]),
        Enter: () => toggle(row),
        " ": () => toggle(row),
        "*": () => rows.forEach((other) => toggle(other, true)),
      };
      if (!keys[event.key]) return;
      event.preventDefault();
      event.stopPropagation();
      keys[event.key]();
    });
    const search = (one, index) => {
      const nodes = new Set([one.from, ...one.probes.map(([node]) => node)]);
      const press = el("button", { type: "button", "aria-pressed": "false", onclick: () => {
        const on = press.getAttribute("aria-pressed") === "false";
        parts.forEach((other) => other.setAttribute("aria-pressed", "false"));
        press.setAttribute("aria-pressed", String(on));
        rows.forEach((row, number) => {
          row.firstElementChild.classList.toggle("on-path", on && nodes.has(number));
          for (let up = row; on && nodes.has(number) && (up = up.parentElement.closest("[role=treeitem]"));) toggle(up, true);
        });
      } }, `Show search ${index + 1} in the tree`);
      parts.push(press);
      const span = ([, from, end]) => (end - from > 1 ? `steps ${from + 1}–${end}` : `step ${end}`);
      const probes = one.probes.map((probe) => {
        const value = nodeAt(drawn.root, probe[0])[1];
        return el("li", {}, `${span(probe)}: MC ${shown(value)}, ${value > 0 ? "can be solved, look later" : "cannot be solved, look earlier"}`);
      });
      const steps = one.steps.map((step, at) => el("li", { class: one.wrong !== null && at > one.wrong ? "after" : null },
        el("span", { class: "score none" }, String(at + 1)), el("span", {}, rich(step), at === one.wrong ? [" ", tag("first wrong step", "bad")] : [])));
      return el("li", {}, press, el("ol", { class: "steps" }, steps), el("ol", {}, probes));
    };
    const parts = [];
    const found = drawn.searches.map(search);
    const isFirst = problem.c.length === 0 || state.filter === "tree";
    return el("details", { open: isFirst, class: "searched" }, el("summary", {}, el("h4", {}, "Search tree")), el("p", { class: "note" }, "Each state with its Monte Carlo value. Arrow keys walk the tree, Enter opens and closes, * opens all."), all,
      ...(found.length ? [el("h4", {}, "Binary searches for the first wrong step"), el("ul", { class: "searches" }, found)] : []));
  };
  const nodeAt = (root, number) => {
    let left = number;
    const walk = (node) => {
      if (left === 0) return node;
      left -= 1;
      for (const child of node[5]) { const hit = walk(child); if (hit) return hit; }
      return null;
    };
    return walk(root);
  };

  const detail = byId("detail");
  const show = (problem) => {
    const [, name] = MARKS[outcome(problem)];
    const kind = outcome(problem);
    const at = found.indexOf(problem);
    const turn = (label, to) => el("button", { type: "button", disabled: !found[to], onclick: () => open(found[to], false) }, label);
    const shownImages = problem.images.map(([index, path]) => (index >= 0 && images[index]
      ? el("img", { src: images[index], alt: `Image of the problem: ${path}` }) : el("div", { class: "noimage" }, `Image not shown: ${path}`)));
    const run = runs[problem.run];
    detail.replaceChildren(
      el("div", { class: "top" }, el("h3", { id: "detail-h" }, problem.id),
        el("div", { class: "turn" }, turn("← Previous", at - 1), turn("Next →", at < 0 ? 0 : at + 1))),
      el("div", { class: "tags head" }, tag(kind === "right" ? "✓ right" : kind === "wrong" ? "✗ wrong" : name, kind === "right" ? "good" : kind === "wrong" ? "bad" : ""),
        groupOf(problem) ? tag(groupOf(problem)) : null, differs(problem) ? tag("differs from majority") : null, runs.length > 1 ? tag(run.name) : null),
      el("div", { class: "question" }, el("div", {}, shownImages), el("div", {}, el("p", {}, rich(problem.q)),
        problem.gold === null || problem.gold === undefined ? null : el("p", {}, el("small", {}, "Answer: "), el("b", {}, rich(problem.gold))),
        problem.error ? el("p", { class: "note" }, `Error: ${problem.error}`) : null)),
      ...(problem.tree ? [tree(problem)] : []),
      ...(problem.c.length ? candidates(problem) : []));
    detail.setAttribute("aria-labelledby", "detail-h");
  };
  const open = (problem, focus) => {
    state.problem = problem;
    state.isAsked = true;
    for (const [index, row] of [...list.children].entries()) row.firstElementChild.setAttribute("aria-current", String(found[index] === problem && index < limit));
    show(problem);
    remember();
    if (focus && matchMedia("(max-width: 52rem)").matches) detail.scrollIntoView();
    if (focus) detail.focus({ preventScroll: true });
  };
  const read = () => {
    const given = parameters();
    for (const key of ["filter", "rule", "group", "find", "run"]) {
      state[key] = given.get(key) ?? (key === "filter" ? "all" : "");
      if (controls[key]) {
        controls[key].value = state[key];
        // A value that this page does not have.
        if (controls[key].selectedIndex === -1) { controls[key].selectedIndex = 0; state[key] = controls[key].value; }
      }
    }
    state.differ = given.get("differ") === "1";
    if (controls.differ) controls.differ.checked = state.differ;
    const asked = named(given.get("problem"), given.get("of") ?? (state.run || null));
    state.isAsked = Boolean(asked);
    state.problem = asked || problems.find(matches) || problems[0];
    update();
    const { top } = byId("problems").getBoundingClientRect();
    if (asked && (top < 0 || top > innerHeight / 2)) byId("problems").scrollIntoView({ behavior: "instant" });
  };
  addEventListener("hashchange", () => { if (location.hash.includes("=")) read(); });
  read();
})();
