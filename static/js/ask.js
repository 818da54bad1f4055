// How our pages ask our API: one shape for every answer, also for one that is no JSON, or that never comes.
//
// The pages' scripts share one name, `payonce`. They import nothing: an import would name a file without its hash.

globalThis.payonce = {};

const ANSWER_SECONDS = 45; // a press takes 28 s at most; later than this there is nobody left to answer
const LONGEST_PAUSE_SECONDS = 15;

const cookie = (name) =>
  document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);

// `status` is 0 if no answer came; `body` is null unless it was JSON; `retry` is the API's word for what to do with the
// key: "same-key", "new-key", "no", or undefined where there is nothing to repeat.
payonce.ask = async (method, url, { key, body = {} } = {}) => {
  const answer = { status: 0, body: null, retryAfter: 0, offline: !navigator.onLine };
  try {
    const response = await fetch(url, {
      method,
      headers: {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "X-CSRFToken": cookie("__Host-csrftoken") ?? cookie("csrftoken") ?? "",
        ...(key && { "Idempotency-Key": key }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_SECONDS * 1000),
    });
    answer.status = response.status;
    answer.retryAfter = Number(response.headers.get("Retry-After")) || 0;
    answer.body = await response.json();
  } catch {
    // No connection, an answer cut short, or a page of some proxy: `status` and `body` say how far it came.
  }
  answer.retry = answer.body ? answer.body.retry : unreadable(answer.status);
  return answer;
};

// Without a word of ours it is only known whether the request may have been carried out. With the same key it may be
// sent again in either case.
const unreadable = (status) =>
  status < 400 || status >= 500 || [408, 425, 429].includes(status) ? "same-key" : "no";

// Seconds before the next try: exponential with full jitter, and never sooner than we were told.
payonce.backOff = (tries, retryAfter = 0) =>
  Math.max(retryAfter, Math.random() * Math.min(LONGEST_PAUSE_SECONDS, 2 ** tries));

// Over sooner if the connection comes back, or on one of the events named.
payonce.pause = (seconds, ...events) =>
  new Promise((resolve) => {
    const ends = ["online", ...events];
    const over = () => {
      clearTimeout(timer);
      for (const event of ends) window.removeEventListener(event, over);
      resolve();
    };
    const timer = setTimeout(over, seconds * 1000);
    for (const event of ends) window.addEventListener(event, over);
  });
