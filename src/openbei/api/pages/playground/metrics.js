// The server's metrics: reads Prometheus' text format, and computes rates and percentiles between two readings.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };

const READ = new Set([
  "te_request_success",
  "te_request_failure",
  "te_request_duration_bucket",
  "openbei_batch_fill_sum",
  "openbei_batch_fill_count",
  "te_batch_next_tokens_sum",
  "te_queue_size",
  "openbei_queue_tokens",
]);

/** The samples of a text that the charts need: {name, labels, value}. */
export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, inner = "", value] = SAMPLE.exec(line) ?? [];
    if (READ.has(name)) samples.push({ name, labels: labelsOf(inner), value: Number(value) });
  }
  return samples;
}

function labelsOf(inner) {
  const pairs = [...inner.matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\[\\"n]/g, (one) => ESCAPES[one])]);
  return Object.fromEntries(pairs);
}

/** What the samples say of a model, or of all of them if `model` is null. Counts begin with the server. */
export function reading(samples, model) {
  const ofModel = samples.filter(({ labels }) => model === null || labels.model === model);
  const sum = (name) => ofModel.filter((one) => one.name === name).reduce((total, { value }) => total + value, 0);
  return {
    succeeded: sum("te_request_success"),
    failed: sum("te_request_failure"),
    durations: bucketsOf(ofModel.filter(({ name }) => name === "te_request_duration_bucket")),
    fill: sum("openbei_batch_fill_sum"),
    batches: sum("openbei_batch_fill_count"),
    tokens: sum("te_batch_next_tokens_sum"),
    queue: sum("te_queue_size"),
    queueTokens: sum("openbei_queue_tokens"),
  };
}

/** Upper bound in seconds -> the number of requests up to it. */
function bucketsOf(samples) {
  const counts = new Map();
  for (const { labels, value } of samples) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

/** What happened in `seconds` between two readings. Percentiles and fill are null if nothing happened. */
export function between(before, now, seconds) {
  const rate = (name) => increase(before[name], now[name]) / seconds;
  const batches = increase(before.batches, now.batches);
  const percentile = (share) => percentileOf(before.durations, now.durations, share);
  return {
    succeeded: rate("succeeded"),
    failed: rate("failed"),
    p50: percentile(0.5),
    p95: percentile(0.95),
    p99: percentile(0.99),
    fill: batches > 0 ? increase(before.fill, now.fill) / batches : null,
    tokens: rate("tokens"),
    queue: now.queue,
    queueTokens: now.queueTokens,
  };
}

/** How much a counter grew. It began again at 0 if the server was restarted. */
function increase(before, now) {
  return now < before ? now : now - before;
}

/** The percentile in seconds, interpolated within its bucket as Prometheus does. */
function percentileOf(before, now, share) {
  const bounds = [...now.keys()].sort((a, b) => a - b);
  const buckets = bounds.map((bound) => [bound, increase(before.get(bound) ?? 0, now.get(bound))]);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const wanted = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= wanted) return bound === Infinity ? lower : lower + (bound - lower) * (wanted - below) / (count - below);
    [lower, below] = [bound, count];
  }
  return lower;
}
