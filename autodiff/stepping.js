// What makes the page of stepping.py move. All numbers and sentences come with the data: nothing is calculated here.
(() => {
  "use strict";
  const data = DATA;
  const script = document.currentScript;
  const host = script ? script.parentElement : [...document.querySelectorAll(".chainrule-steps")].find((e) => !e.shadowRoot);
  const image = host.querySelector("img");
  const root = host.attachShadow({ mode: "open" });

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // ---- the parts of the page

  const button = (text, key, action) => {
    const element = make("button", { type: "button", title: key }, text);
    element.addEventListener("click", action);
    return element;
  };
  const first = button("First", "Home", () => go(0));
  const previous = button("Previous", "left arrow", () => go(at - 1));
  const play = button("Play", "space", () => toggle());
  const next = button("Next", "right arrow", () => go(at + 1));
  const last = button("Last", "End", () => go(data.steps.length));
  const slider = make("input", { type: "range", min: 0, max: data.steps.length, step: 1, "aria-label": "Step" });
  slider.addEventListener("input", () => go(Number(slider.value)));
  const counter = make("span", { class: "counter" });
  const line = make("p", { class: "line" });
  const says = make("p", { class: "says" });
  const told = make("div", { class: "told", role: "status", "aria-live": "polite", "aria-atomic": "true" }, line, says);
  const picture = make("div", { class: "picture", role: "group", "aria-label": "Computation graph" });
  const panel = make("section", { class: "panel", "aria-label": "Chosen value" });
  const key = make("p", { class: "key", "aria-hidden": "true" });
  const kinds = new Set(data.nodes.map((node) => node.kind));
  for (const kind of ["leaf", "parameter", "intermediate value", "result"]) {
    if (kinds.has(kind)) key.append(make("span", { class: `sample-${kind.split(" ")[0]}` }), kind);
  }
  key.append(make("span", { class: "sample-rule" }), "its rule is applied", make("span", { class: "sample-target" }), "receives");
  const page = make(
    "div",
    { class: "page", tabindex: 0, role: "group", "aria-label": "Backward pass, step by step. Arrow keys go on and back." },
    make("div", { class: "bar" }, first, previous, play, next, last, slider, counter),
    told, picture, key, panel,
  );
  const style = make("style");
  style.textContent = data.style;
  root.append(style, page);

  // ---- the picture: the one that is there without scripts

  const bytes = Uint8Array.from(atob(image.src.split(",")[1]), (c) => c.charCodeAt(0));
  const parsed = new DOMParser().parseFromString(new TextDecoder().decode(bytes), "image/svg+xml");
  const svg = document.importNode(parsed.documentElement, true);
  const width = parseFloat(svg.getAttribute("width")) * 4 / 3;  // from points
  svg.removeAttribute("height");
  svg.setAttribute("style", `width: ${width}px; max-width: max(100%, ${0.7 * width}px)`);
  picture.append(svg);
  const boxes = data.nodes.map((node, i) => svg.querySelector(`#n${i}`));
  for (const title of svg.querySelectorAll("title")) title.remove();
  for (const link of svg.querySelectorAll("a")) link.removeAttribute("xlink:title");
  const grads = boxes.map((box) => [...box.querySelectorAll("text")].at(-1));
  boxes.forEach((box, i) => {
    box.parentNode.append(box);  // the tab key goes from the leaves to the result
    box.setAttribute("tabindex", 0);
    box.setAttribute("role", "button");
    box.addEventListener("click", () => choose(i));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        choose(i);
        event.preventDefault();
        event.stopPropagation();
      }
    });
  });

  // ---- what is shown: `at` steps are done, the value number `chosen` is looked at

  let at = 0;
  let chosen = -1;
  let timer = 0;

  const shown = () => {
    const now = data.nodes.map(() => ({ grad: ["0", "0.0"], parts: [] }));
    for (const step of data.steps.slice(0, at)) {
      now[step.target].grad = step.grad;
      if (step.kind === "edge") now[step.target].parts.push([step.node, step.part || "nothing"]);
    }
    return now;
  };

  const mark = (name, elements) => {
    for (const element of svg.querySelectorAll(`.${name}`)) element.classList.remove(name);
    for (const element of elements) if (element) element.classList.add(name);
  };

  // An edge is in two pieces with its number between them, or in three if it enters a frame.
  const pieces = ["a", "b", "n", ""];
  const edge = (step) => (step.edge ? pieces.map((piece) => svg.querySelector(`#${step.edge}${piece}`)) : []);

  const show = () => {
    const now = shown();
    const step = data.steps[at - 1];
    now.forEach((state, i) => {
      grads[i].textContent = `grad ${state.grad[0]}`;
      boxes[i].dataset.grad = state.grad[1];
      boxes[i].setAttribute("aria-label", `${data.nodes[i].name}: data ${data.nodes[i].data}, grad ${state.grad[1]}`);
      boxes[i].setAttribute("aria-pressed", i === chosen);
    });
    mark("done", data.steps.slice(0, at).flatMap(edge));
    mark("lit", step ? edge(step) : []);
    mark("rule", step ? [boxes[step.node]] : []);
    mark("target", step && step.target !== step.node ? [boxes[step.target]] : []);
    mark("chosen", [boxes[chosen]]);
    line.textContent = step ? step.line : "All values are computed, every grad is 0.";
    says.textContent = step ? step.says : "Next applies one rule at a time, from the result back to the leaves.";
    counter.textContent = `step ${at} of ${data.steps.length}`;
    slider.value = at;
    slider.setAttribute("aria-valuetext", `step ${at} of ${data.steps.length}: ${line.textContent}`);
    first.disabled = previous.disabled = at === 0;
    next.disabled = last.disabled = at === data.steps.length;
    showPanel(now[chosen]);
    if (step) follow(boxes[step.target], boxes[step.node]);
    else follow(boxes[data.steps[0].target]); // the result, where the pass begins
  };

  // Scroll the picture, and nothing around it.
  const follow = (...elements) => {
    const frame = picture.getBoundingClientRect();
    for (const element of elements) {
      const box = element.getBoundingClientRect();
      if (box.left < frame.left) picture.scrollLeft += box.left - frame.left - 20;
      else if (box.right > frame.right) picture.scrollLeft += box.right - frame.right + 20;
      if (box.top < frame.top) picture.scrollTop += box.top - frame.top - 20;
      else if (box.bottom > frame.bottom) picture.scrollTop += box.bottom - frame.bottom + 20;
    }
  };

  const link = (i) => button(data.nodes[i].name, "", () => choose(i));

  const list = (items) => {
    const cell = make("dd");
    items.forEach((item, i) => cell.append(...(i ? [", "] : []), ...item));
    if (!items.length) cell.append("none");
    return cell;
  };

  const showPanel = (state) => {
    if (!state) {
      panel.replaceChildren(make("p", {}, "Choose a value in the picture to see all its digits, its parents and its formula."));
      return;
    }
    const node = data.nodes[chosen];
    const sum = state.parts.map(([user, part]) => [`${part} from `, link(user)]);
    panel.replaceChildren(
      make("h3", {}, node.formula ? `${node.name} = ${node.formula}` : node.name, make("small", {}, ` ${node.kind}`)),
      make(
        "dl", {},
        make("dt", {}, "data"), make("dd", { class: "number" }, node.data),
        make("dt", {}, "grad now"), make("dd", { class: "number grad" }, state.grad[1]),
        make("dt", {}, "received"), list(chosen === data.steps[0].target && at ? [["the seed"], ...sum] : sum),
        make("dt", {}, "parents"),
        list(node.parents.map(([i, local]) => [link(i), ` (local derivative ${local})`])),
        make("dt", {}, "used by"), list(node.users.map((i) => [link(i)])),
      ),
    );
  };

  // ---- what can be done

  const go = (step) => {
    at = Math.max(0, Math.min(data.steps.length, step));
    if (at === data.steps.length) stop();
    show();
  };

  const choose = (i) => {
    chosen = i;
    show();
  };

  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };

  const toggle = () => {
    if (timer) {
      stop();
      return;
    }
    if (at === data.steps.length) at = 0;
    timer = setInterval(() => (host.isConnected ? go(at + 1) : stop()), 1200);
    play.textContent = "Pause";
    go(at + 1);
  };

  const keys = {
    ArrowRight: () => go(at + 1),
    ArrowLeft: () => go(at - 1),
    Home: () => go(0),
    End: () => go(data.steps.length),
    " ": () => toggle(),
  };
  page.addEventListener("keydown", (event) => {
    const onButton = event.target.tagName === "BUTTON";
    if (!(event.key in keys) || (event.key === " " && onButton) || event.ctrlKey || event.metaKey || event.altKey) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });

  show();
})();
