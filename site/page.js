// The page: cells that can be edited and run, one Python in a worker behind them.
const cells = [...document.querySelectorAll(".cell")];
const status = document.getElementById("status");
let worker = null;
let waiting = []; // cells that were asked for, in order; the first is running

function start() {
  worker?.terminate();
  waiting.forEach((cell) => cell.classList.remove("running"));
  waiting = [];
  say("loading", "Python is loading: about 15 megabytes, once.");
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => say("failed", `Python could not be loaded: ${event.message || "see the console"}`);
}

function say(state, text) {
  document.body.dataset.state = state;
  status.textContent = text;
}

function receive({ ready, failed, cell, outputs }) {
  if (failed) return say("failed", `Python could not be loaded: ${failed}`);
  if (ready) {
    say("ready", `Python ${ready} is ready. Nothing you type leaves this page.`);
    document.body.dataset.python = ready;
  } else {
    const done = waiting.shift();
    done.classList.remove("running");
    done.dataset.ran = String(Number(done.dataset.ran || 0) + 1);
    show(cells[cell].querySelector(".output"), outputs);
    if (outputs.some(({ kind }) => kind === "error")) stopAfter();
  }
  next();
}

function stopAfter() {
  // What follows builds on what has failed.
  waiting.forEach((cell) => cell.classList.remove("running"));
  waiting = [];
  say("ready", "A cell has failed: its message is below it. Cells after it were not run.");
}

function ask(chosen) {
  const idle = waiting.length === 0;
  chosen.forEach((cell) => cell.classList.add("running"));
  waiting.push(...chosen);
  if (idle) next();
}

function next() {
  if (!document.body.dataset.python) return; // it begins when Python is there
  if (waiting.length === 0) {
    if (document.body.dataset.state === "running") say("ready", "Done.");
    return;
  }
  const cell = cells.indexOf(waiting[0]);
  if (document.body.dataset.state !== "running") say("running", "Running.");
  worker.postMessage({ cell, code: cells[cell].querySelector("textarea").value });
}

// ---- outputs

function show(place, outputs) {
  place.replaceChildren(...outputs.map(element));
}

function element({ kind, text }) {
  if (kind === "html") return framed(text);
  if (kind === "svg") return picture(text);
  if (kind === "latex") return formula(Object.assign(document.createElement("div"), { textContent: text }));
  const pre = document.createElement("pre");
  pre.className = kind;
  pre.textContent = text;
  return pre;
}

function picture(svg) {
  const image = new Image();
  image.alt = new DOMParser().parseFromString(svg, "image/svg+xml").querySelector("title")?.textContent || "a picture";
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  return image;
}

function framed(html) {
  const frame = document.createElement("iframe");
  frame.title = "output";
  frame.srcdoc = html;
  fit(frame);
  return frame;
}

function fit(frame) {
  // As high as what is in it, also when that changes.
  const measure = () => {
    const inside = frame.contentDocument?.documentElement;
    if (inside) frame.style.height = `${inside.offsetHeight + 2}px`;
  };
  const watch = () => {
    measure();
    new ResizeObserver(measure).observe(frame.contentDocument.documentElement);
  };
  frame.addEventListener("load", watch);
  // What came with the page may have loaded before this script ran. (A frame that is just being made still holds an
  // empty page, which is complete too.)
  const inside = frame.contentDocument;
  if (inside?.readyState === "complete" && inside.URL !== "about:blank") watch();
}

function formula(place) {
  const source = place.textContent;
  const display = place.tagName === "DIV";
  // An object shows itself as TeX between dollars; a formula of the text has none.
  katex.render(source.replace(/^\s*\$+|\$+\s*$/g, ""), place, { displayMode: display, output: "mathml", throwOnError: false });
  return place;
}

// ---- the reader

cells.forEach((cell, number) => {
  const code = cell.querySelector("textarea");
  const original = code.value;
  const grow = () => {
    // As high as its lines, of which the long ones are wrapped.
    code.style.height = "auto";
    code.style.height = `${code.scrollHeight}px`;
  };
  grow();
  code.addEventListener("input", grow);
  addEventListener("resize", grow);
  code.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.shiftKey || event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    ask([cell]);
    if (event.shiftKey) cells[number + 1]?.querySelector("textarea").focus();
  });
  cell.querySelector(".run").addEventListener("click", () => ask([cell]));
  cell.querySelector(".undo").addEventListener("click", () => {
    code.value = original;
    grow();
  });
});
document.getElementById("all").addEventListener("click", () => ask(cells));
document.getElementById("restart").addEventListener("click", () => {
  delete document.body.dataset.python;
  start();
});
document.querySelectorAll(".math").forEach(formula);
document.querySelectorAll("iframe").forEach(fit);
start();
