// The table of tasks: each is a tab if a model fits it.
//
// A task has: `id`, `title`, `about` (a sentence), `fits(model)` for a model of /info, optionally `prefers(model)` for
// those that come first, `fields` of its form (see form.js), `request(values, model)` -> {path, body}, and
// `show(answer, values, send)` -> the elements of its result, where `send(path, body)` sends another request.

import { classes } from "./classes.js";
import { entities } from "./entities.js";
import { ranking } from "./ranking.js";
import { similarity } from "./similarity.js";
import { terms } from "./terms.js";

export const TASKS = [similarity, ranking, classes, entities, terms];
