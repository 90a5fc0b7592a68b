// Moves between the views of a report; draws its charts and windows when they are first shown.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const views = all(".view");
  const json = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // ---- charts
  const dark = () => root.dataset.theme === "dark";
  const specs = json("data-charts") || {};
  function drawChart(box) {
    const ink = dark() ? "#e4e8ec" : "#1b2127", line = dark() ? "#333c45" : "#dce1e6";
    const words = { labelColor: ink, titleColor: ink };
    const config = {
      background: "transparent",
      view: { stroke: line },
      axis: { ...words, gridColor: line, domainColor: ink, tickColor: ink },
      legend: words, header: words,
      title: { color: ink }, text: { color: ink }, font: "system-ui, sans-serif",
    };
    const spec = specs[box.dataset.chart];
    const actions = { export: { svg: true, png: true }, source: false, compiled: false, editor: false };
    window.vegaEmbed(box, { ...spec, config: { ...spec.config, ...config } },
      { renderer: "svg", actions, logLevel: 1, downloadFileName: box.dataset.chart, theme: undefined,
        loader: { target: "_self" } })
      .then(() => { box.dataset.drawn = root.dataset.theme; })
      .catch((error) => { box.append(make("p", "note", `This chart was not drawn: ${error}`)); });
  }

  // ---- tables
  let tableLibrary = null;
  function loadTables() {
    if (!tableLibrary) {
      const code = document.getElementById("table-library").textContent;
      const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      tableLibrary = import(url).then((module) => module.default);
    }
    return tableLibrary;
  }
  function upgradeTable(table) {
    table.dataset.ready = "1";
    const many = table.tBodies[0].rows.length > 12;
    loadTables().then((DataTable) => new DataTable(table, {
      paging: false, info: false, order: [], autoWidth: false,
      layout: {
        topStart: many ? "search" : null, topEnd: null, bottomStart: null, bottomEnd: null,
      },
      language: { search: "Filter", zeroRecords: "No row matches." },
    }));
  }

  // ---- windows, each token tinted by what its position contributes
  const windows = json("data-windows");
  function windowRow(index, score, parts, scale) {
    const row = make("li");
    row.append(make("span", "score", score.toPrecision(3)));
    row.lastChild.append(make("small", "", windows.half[index]));
    const text = make("span", "text");
    windows.tokens[index].forEach((number, position) => {
      const word = windows.vocabulary[number];
      if (!word) return;
      const token = make("span", "", word);
      if (parts) {
        const part = parts[position] / 100;
        const tint = part < 0 ? "--minus" : "--plus";
        token.style.backgroundColor = `rgba(var(${tint}), ${(Math.abs(part) * 0.75).toFixed(3)})`;
        token.title = `${JSON.stringify(word)}: ${(part * scale).toPrecision(2)} of ${score.toPrecision(3)}`;
      }
      text.append(token);
    });
    row.append(text);
    const next = make("span", "next");
    next.append(make("b", "", windows.next[index]), ` ${windows.tag[index]}`);
    if (windows.own) next.append(make("small", "", `model: ${windows.own[index]}`));
    row.append(next);
    return row;
  }
  function drawWindows(list) {
    const data = JSON.parse(document.getElementById(list.dataset.windows).textContent);
    const shown = data[list.dataset.group];
    list.replaceChildren(...shown.rows.map((row, i) =>
      windowRow(row, shown.scores[i], shown.parts ? shown.parts[i] : null, data.scale)));
    list.dataset.ready = "1";
  }

  // ---- views
  const visible = (element) => element.checkVisibility();
  function fill(view) {
    all(".chart[data-chart]", view).forEach((box) => {
      if (box.dataset.drawn !== root.dataset.theme && visible(box)) drawChart(box);
    });
    all("table.data:not([data-ready])", view).filter(visible).forEach(upgradeTable);
    all("[data-windows]:not([data-ready])", view).filter(visible).forEach(drawWindows);
  }
  const current = () => views.find((view) => view.classList.contains("shown"));
  function show() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = (id && document.getElementById(id)) || views[0];
    const view = target.closest(".view") || views[0];
    views.forEach((other) => other.classList.toggle("shown", other === view));
    const tab = view.dataset.tab || view.id;
    all("nav a").forEach((link) => {
      if (link.hash === `#${tab}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    let folded = target.closest("details");
    while (folded) { folded.open = true; folded = folded.parentElement.closest("details"); }
    fill(view);
    if (target === view) window.scrollTo(0, 0);
    else target.scrollIntoView();
  }
  window.addEventListener("hashchange", show);
  document.addEventListener("toggle", (event) => {
    if (event.target.tagName === "DETAILS" && event.target.open) fill(event.target);
  }, true);
  window.addEventListener("beforeprint", () => {
    all("details").forEach((one) => { one.open = true; });
    all("[data-windows]:not([data-ready])").forEach(drawWindows);
  });

  // ---- theme
  function setTheme(theme) {
    root.dataset.theme = theme;
    root.classList.toggle("dark", theme === "dark");
    if (current()) fill(current());
  }
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(system.matches ? "dark" : "light");
  system.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () =>
    setTheme(dark() ? "light" : "dark"));

  // ---- search
  const entries = json("data-search") || [];
  const box = document.getElementById("search"), list = document.getElementById("found");
  function search() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = words.length
      ? entries.filter(([label, kind, , more]) =>
          words.every((word) => `${label} ${kind} ${more}`.toLowerCase().includes(word)))
      : [];
    const score = ([label]) => (words.some((w) => label.toLowerCase().startsWith(w)) ? 0 : 1);
    list.replaceChildren(...hits.sort((a, b) => score(a) - score(b)).slice(0, 40).map(([label, kind, href], i) => {
      const item = make("li"), link = make("a", i === 0 ? "on" : "", label);
      link.href = href;
      link.append(make("small", "", kind));
      item.append(link);
      return item;
    }));
    if (words.length && !hits.length) list.append(make("li", "muted", "Nothing found."));
  }
  box.addEventListener("input", search);
  box.addEventListener("keydown", (event) => {
    const links = all("a", list), at = links.findIndex((link) => link.classList.contains("on"));
    if (event.key === "Escape") { box.value = ""; search(); box.blur(); }
    else if (event.key === "Enter" && links[at]) links[at].click();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1, next = links[at + step];
      if (next) { links[at].classList.remove("on"); next.classList.add("on"); next.scrollIntoView({ block: "nearest" }); }
    }
  });
  list.addEventListener("click", () => { box.value = ""; search(); box.blur(); });

  // ---- keyboard
  const help = document.getElementById("help");
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  function step(by) {
    const at = views.indexOf(current()), next = views[at + by];
    if (next) location.hash = `#${next.id}`;
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      "/": () => box.focus(), "?": () => help.showModal(), d: () => setTheme(dark() ? "light" : "dark"),
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), g: () => { location.hash = `#${views[0].id}`; },
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });

  show();
})();
