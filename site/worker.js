// Python, beside the page: a cell that runs for long does not freeze what the reader sees, and can be stopped.
import { loadPyodide } from "./pyodide/pyodide.mjs";
import { instance as loadGraphviz } from "./viz.js";

const ready = start();

async function start() {
  const [python, graphviz, archive] = await Promise.all([
    loadPyodide(),
    loadGraphviz(),
    fetch("./python.zip").then((answer) => answer.arrayBuffer()),
  ]);
  python.unpackArchive(archive, "zip", { extractDir: "/page" });
  python.runPython("import sys; sys.path.insert(0, '/page')");
  const cells = python.pyimport("cells");
  cells.draw_with((source) => graphviz.renderString(source, { format: "svg" }));
  const version = python.runPython("import platform; platform.python_version()");
  return { page: cells.Page(), version };
}

onmessage = async ({ data }) => {
  const { page } = await ready;
  const outputs = page.run(data.code);
  postMessage({ cell: data.cell, outputs: outputs.toJs({ dict_converter: Object.fromEntries }) });
  outputs.destroy();
};

ready.then(
  ({ version }) => postMessage({ ready: version }),
  (error) => postMessage({ failed: String(error) }),
);
