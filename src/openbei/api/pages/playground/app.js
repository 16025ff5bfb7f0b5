// Starts the page: asks the server for its models, and shows a tab for each task that they have, and one for the load.

import { element } from "./dom.js";
import { askKey } from "./key.js";
import { createLoad } from "./load.js";
import { createPanel } from "./panel.js";
import { errorBox } from "./problem.js";
import { getJson } from "./server.js";
import { createTabs } from "./tabs.js";
import { TASKS } from "./tasks.js";

const byId = (id) => document.getElementById(id);

async function start() {
  try {
    const info = await getJson("/info");
    show(info.models ?? [info]);
  } catch (error) {
    const again = element("button", { type: "button", class: "primary", onclick: start }, "Try again");
    byId("panels").replaceChildren(errorBox(error), again);
  }
}

function show(models) {
  byId("about").textContent = aboutOf(models);
  document.title = `${models[0].served_model_name}${models.length > 1 ? " and others" : ""} · openbei`;
  const tabs = TASKS.flatMap((task) => {
    const fitting = models.filter(task.fits);
    if (fitting.length === 0) return [];
    if (task.prefers) fitting.sort((a, b) => task.prefers(b) - task.prefers(a));
    return [{ id: task.id, title: task.title, content: createPanel(task, fitting, models.length > 1) }];
  });
  const load = createLoad(models);
  tabs.push({ id: "load", title: "Load", content: load.content, onshow: load.start, onhide: load.stop });
  createTabs(byId("tabs"), byId("panels"), tabs);
}

function aboutOf(models) {
  const what = models.length > 1 ? `${models.length} models` : models[0].served_model_name;
  return `${what} · version ${models[0].version}`;
}

byId("key").addEventListener("click", async () => {
  if (await askKey() && byId("tabs").childElementCount === 0) start();
});
start();
