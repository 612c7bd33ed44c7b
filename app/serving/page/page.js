// The page of `graft serve`: shows the server a photograph, and a person its answer.
// Everything known about a photograph lives in an object of its own (a shot), and only the shot on
// the stage is drawn. An answer that comes late stays with its photograph, never beside another one.

const $ = (id) => document.getElementById(id);
const LIKELIEST = 10; // bars before "and N more"
const KEPT = 12; // photographs that can be gone back to
const RETRIES = 2; // where the server is busy
// Dark to bright, so that it is read without telling colours apart: red, green, blue, alpha.
const RAMP = [[12, 8, 40, 158], [88, 22, 140, 153], [216, 48, 110, 140], [246, 140, 44, 132], [255, 226, 110, 128]];

let models = [], shots = [];
let model = null; // the one that is asked
let shown = null; // the shot on the stage
let expanded = false; // every class, not the likeliest only

// --- Asking the server
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const trouble = (status, message) => Object.assign(new Error(message), { status });
const or = (promise, ...what) => promise?.catch(() => { throw trouble(...what); });

// Relative, so that a proxy may serve the page below a path of its own.
function address(verb, more = {}) {
  const url = new URL(verb, document.baseURI);
  url.search = new URLSearchParams(models.length > 1 ? { model: model.name, ...more } : more);
  return url;
}

/** What the server answers; throws its own words, or ours if it has none. */
async function ask(url, body, onBusy = () => {}) {
  // A folder, or a file that is gone, would otherwise look like a server that is gone.
  await or(body?.slice(0, 1).arrayBuffer(), 400, "The browser cannot read this file.");
  for (let tries = 0; ; tries++) {
    const gone = navigator.onLine ? "It cannot be reached. Is it still running?" : "You are offline.";
    const response = await or(fetch(url, body ? { method: "POST", body } : { cache: "no-store" }), 0, gone);
    const answer = await response.json().catch(() => null);
    if (response.ok && answer) return answer;
    if (response.status !== 429 || tries === RETRIES) {
      throw trouble(response.status, answer?.error || `It answered ${response.status} and gave no reason.`);
    }
    const seconds = Math.min(Math.max(Number(response.headers.get("Retry-After")) || 1, 1), 30);
    onBusy(seconds);
    await pause(1000 * seconds);
  }
}

/** Learns the models, however long the server takes; photographs shown before that wait for it. */
async function meet() {
  try {
    ({ models } = await ask(address("v1/models")));
    if (!models.length) throw trouble(503, "It has no model.");
  } catch (error) {
    drawWords({ ...troubleWords(error), detail: `${error.message} Asking again by itself.`, again: false });
    return setTimeout(meet, 2000);
  }
  $("model-choice").replaceChildren(...models.map(({ name }) => new Option(name)));
  $("models").hidden = models.length < 2;
  use(models[0]);
}

function use(chosen) {
  model = chosen;
  $("model-name").textContent = model.name;
  $("accuracy").textContent = accuracyWords(model.accuracy);
  document.title = `${model.name} · graft`;
  draw();
  if (shown) lookAll([shown, ...shots.filter((shot) => shot !== shown && !shot.turn)]);
}

const lookAll = async (waiting) => { for (const shot of waiting) await look(shot); };
/** Has the model in use name what is on a photograph. */
async function look(shot) {
  const turn = ++shot.turn; // another model may be chosen meanwhile
  const learn = (news) => turn === shot.turn && draw(Object.assign(shot, news));
  learn({ model, answer: null, error: null, busy: 0, chosen: null, heats: new Map() });
  const started = performance.now();
  try {
    const answer = await ask(address("classify"), shot.file, (busy) => learn({ busy }));
    learn({ answer, busy: 0, chosen: answer.classes[0].name, seconds: (performance.now() - started) / 1000 });
  } catch (error) {
    learn({ error });
  }
  explain(shot);
}

/** Fetches the heat map that is wanted; one at a time, so that quick choices skip those in between. */
async function explain(shot) {
  const { heats } = shot; // other ones for each model
  const wanted = () => shot === shown && heats === shot.heats && shot.answer && shot.model.explains
    && $("heat-on").checked && !heats.has(shot.chosen);
  if (heats.asking) return;
  for (heats.asking = true; wanted(); drawHeat()) {
    const asked = ask(address("explain", { class: shot.chosen }), shot.file);
    heats.set(shot.chosen, await asked.catch((error) => ({ error }))); // chosen when it was asked
  }
  heats.asking = false;
}

// --- What a person does
function take(files) {
  const taken = [...files].slice(0, KEPT).map(newShot);
  if (!taken.length) return;
  tell(files.length > KEPT ? `The first ${KEPT} of ${files.length} were taken.` : "");
  shots = [...taken, ...shots];
  for (const old of shots.splice(KEPT)) URL.revokeObjectURL(old.url);
  $("strip").replaceChildren(...shots.map(({ thumb }) => make("li", {}, thumb)));
  stopCamera();
  show(taken[0]);
  if (model) lookAll(taken);
}

function newShot(file) {
  const shot = { file, url: URL.createObjectURL(file), turn: 0, heats: new Map() };
  const picture = make("img", { src: shot.url, alt: "" });
  picture.onerror = () => picture.replaceWith(file.name.split(".").pop().slice(0, 5)); // HEIC, perhaps
  return Object.assign(shot, { thumb: make("button", { type: "button", onclick: () => show(shot) }, picture) });
}

function show(shot) {
  shown = shot;
  expanded = false;
  $("picture").src = shot.url;
  for (const { thumb } of shots) thumb.ariaCurrent = String(thumb === shot.thumb);
  draw();
  shot.turn && shot.model !== model ? look(shot) : explain(shot);
}

function choose(name) {
  if (shown.heats.get(name)?.error) shown.heats.delete(name); // asks again
  shown.chosen = name;
  $("heat-on").checked = true;
  drawHeat();
  explain(shown);
}

function drag(event) {
  event.preventDefault();
  const { type, relatedTarget, dataTransfer: { files } } = event;
  document.body.classList.toggle("dragging", type === "dragover" || (type === "dragleave" && relatedTarget !== null));
  if (type === "drop") files.length ? take(files) : tell("That is not a file. Save the picture first.");
}

async function startCamera() {
  const isPhone = matchMedia("(hover: none) and (pointer: coarse)").matches;
  if (isPhone) return $("capture").click(); // its own camera is better than ours
  if (!navigator.mediaDevices) return tell("The camera needs https, or a server on this machine.");
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
  } catch ({ name }) {
    return tell(name === "NotAllowedError" ? "The browser may not use the camera." : "No camera was found.");
  }
  $("viewfinder").hidden = false;
  $("shutter").focus();
  $("video").play();
}

function stopCamera() {
  if ($("viewfinder").hidden) return;
  for (const track of $("video").srcObject.getTracks()) track.stop();
  $("video").srcObject = null;
  $("viewfinder").hidden = true;
  $("camera").focus();
}

function press() {
  const { videoWidth: width, videoHeight: height } = $("video");
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  // Before the first frame there is no blob.
  canvas.toBlob((blob) => blob && take([new File([blob], "photograph.jpg", { type: blob.type })]), "image/jpeg", 0.92);
}

// --- What is said
const tell = (words) => ($("note").textContent = words);
const quote = (text) => (/^[\w@%+:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const command = () =>
  `curl --data-binary ${quote(`@${shown?.file.name ?? "photo.jpg"}`)} ${quote(address("classify").href)}`;

const percent = (share) =>
  share > 0.9995 ? ">99.9%" : share > 0 && share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;

function accuracyWords(accuracy) {
  if (!accuracy) return "How often it is right was not measured.";
  const [value, low, high] = ["value", "low", "high"].map((key) => Math.round(100 * accuracy[key]));
  return `Right on ${value}% of ${accuracy.count} test images (${low} to ${high}%)`;
}

function words(shot) {
  if (!shot) return { state: "idle", title: "It tells these apart", detail: "Likeliest first, once it has looked." };
  const { answer, error, busy, file, seconds } = shot;
  if (error) return troubleWords(error);
  if (busy) return { state: "busy", title: "Waiting", detail: `The server is busy. Asking again in ${busy} s.` };
  if (!answer) return { state: "busy", title: "Looking", detail: file.name };
  const { classes, many_labels: many, unsure } = answer;
  const labels = classes.filter(({ probability }) => probability >= 0.5).map(({ name }) => name);
  return {
    state: unsure ? "unsure" : "sure",
    kicker: unsure ? "The model is unsure. Perhaps" : many ? "Its labels" : percent(classes[0].probability),
    title: many ? labels.join(", ") || "None" : classes[0].name,
    detail: `${answer.model}, version ${answer.version}, in ${seconds.toFixed(1)} s`,
  };
}

function troubleWords({ message, status }) {
  const title = { 0: "No server", 413: "Too large", 429: "Too busy", 503: "Not ready" }[status] ?? "No answer";
  return { state: "error", title, detail: message, again: status === 0 || status === 429 || status >= 500 };
}

function heatWords(on, { heat, error } = {}) {
  if (!model?.explains) return model ? "This model cannot show what it looked at." : "";
  if (!shown?.answer) return "Shows what in the photograph spoke for a class.";
  if (!on) return "Choose a class to see what spoke for it.";
  const name = `\u2068${shown.chosen}\u2069`; // isolated, whichever way it is written
  if (error) return `No heat map for ${name}: ${error.message}`;
  return heat ? `What spoke for ${name}: ${where(heat)}.` : `Finding out what spoke for ${name}`;
}

/** The brightest part of the picture, in words. */
function where(heat) {
  const most = Math.max(...heat.flat());
  const y = heat.findIndex((row) => row.includes(most)), x = heat[y].indexOf(most);
  if (!(most > 0)) return "nothing in the picture";
  const third = (index, count, ...names) => names[Math.floor((3 * index + 1.5) / count)];
  const place = [third(y, heat.length, "upper ", "", "lower "), third(x, heat[y].length, "left ", "", "right ")];
  return `most of all the ${place.join("") || "middle "}part`;
}

// --- Drawing
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  return element.append(...children), element;
}

/** Draws the shot on the stage; of any other one, only what its small picture is called. */
function draw(shot = shown) {
  if (shot) shot.thumb.ariaLabel = `${words(shot).title}: ${shot.file.name}`;
  if (shot !== shown) return;
  $("stage").dataset.state = !shot ? "empty" : shot.answer || shot.error ? "done" : "busy";
  if (model) drawWords(words(shot));
  $("command").textContent = command();
  drawBars();
  drawHeat();
}

function drawWords({ state, kicker = "", title, detail, again = false }) {
  $("answer").dataset.state = state;
  // Unchanged words are left alone, so that a screen reader does not repeat them.
  const changed = Object.entries({ kicker, verdict: title, detail }).filter(([id, text]) => $(id).textContent !== text);
  for (const [id, text] of changed) $(id).textContent = text;
  $("verdict").dataset.size = Math.min(Math.floor(title.length / 15), 2);
  $("again").hidden = !again;
}

/** The bars; before there is an answer the same rows stand empty, so that nothing moves later. */
function drawBars() {
  const answer = shown?.answer;
  const classes = answer?.classes ?? model?.class_names.map((name) => ({ name })) ?? [];
  const rows = classes.slice(0, expanded ? undefined : LIKELIEST).map((entry) => make("li", {}, bar(entry)));
  $("bars").className = `bars${answer?.many_labels ? " many" : ""}${answer?.unsure ? " unsure" : ""}`;
  $("bars").replaceChildren(...rows);
  const textContent = expanded ? "fewer" : `and ${classes.length - LIKELIEST} more`;
  Object.assign($("more"), { textContent, ariaExpanded: String(expanded), hidden: classes.length <= LIKELIEST });
}

function bar({ name, probability = -1 }) {
  const title = make("span", { className: "name", dir: "auto", textContent: name, title: name });
  const share = make("span", { className: "share", textContent: probability < 0 ? "" : percent(probability) });
  const fill = make("span", { className: "fill" });
  fill.style.setProperty("--share", Math.max(probability, 0));
  if (probability < 0 || !shown.model.explains) return make("div", { className: "bar" }, title, share, fill);
  return make("button", { className: "bar", type: "button", value: name, onclick: () => choose(name) }, title, " ", share, fill);
}

function drawHeat() {
  const on = Boolean(shown?.answer) && $("heat-on").checked;
  const found = shown?.heats.get(shown.chosen);
  const drawn = on && found?.heat && $("picture").complete && !$("picture").hidden;
  $("heat").hidden = !drawn;
  $("heat").style.setProperty("--strength", $("strength").value / 100);
  $("heat-panel").dataset.shown = !model ? "no" : model.explains ? "yes" : "note";
  $("heat-note").textContent = $("heat").ariaLabel = heatWords(on, found);
  for (const row of $("bars").querySelectorAll("button")) row.ariaPressed = String(on && row.value === shown.chosen);
  if (drawn) paint($("heat"), found.heat);
}

/** Paints the map in the shape of the picture, whose place it then shares by `object-fit`. */
function paint(canvas, heat) {
  const { naturalWidth, naturalHeight } = $("picture"), scale = 320 / Math.max(naturalWidth, naturalHeight);
  const width = (canvas.width = Math.ceil(naturalWidth * scale));
  const height = (canvas.height = Math.ceil(naturalHeight * scale));
  const rows = heat.map((row) => stretch(row, width));
  const image = new ImageData(width, height);
  for (let x = 0; x < width; x++) {
    const column = stretch(rows.map((row) => row[x]), height);
    column.forEach((value, y) => image.data.set(colour(value), 4 * (y * width + x)));
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Catmull-Rom through the middles of the cells: smooth, and true to their values. */
function stretch(values, length) {
  const value = (index) => values[Math.min(Math.max(index, 0), values.length - 1)];
  return Array.from({ length }, (_, at) => {
    const place = ((at + 0.5) * values.length) / length - 0.5;
    const i = Math.floor(place), t = place - i;
    const [a, b, c, d] = [value(i - 1), value(i), value(i + 1), value(i + 2)];
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  });
}

function colour(heat) {
  const place = Math.min(Math.max(heat, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[low].map((from, channel) => from + (place - low) * (RAMP[low + 1][channel] - from));
}

async function copy() {
  getSelection().selectAllChildren($("command"));
  // Without https or localhost there is no clipboard, but what is selected can still be copied.
  const written = navigator.clipboard?.writeText($("command").textContent) ?? document.execCommand("copy");
  $("copy").textContent = await Promise.resolve(written).then(() => "Copied", () => "Selected");
  await pause(2000);
  $("copy").textContent = "Copy";
}

// --- Wiring
$("file").onchange = $("capture").onchange = ({ target }) => {
  take(target.files);
  target.value = ""; // so that the same file may be chosen again
};
$("picture").onload = $("picture").onerror = ({ type }) => {
  $("picture").hidden = !($("unshowable").hidden = type === "load");
  drawHeat();
};
const clicks = {
  choose: () => $("file").click(), camera: startCamera, "camera-stop": stopCamera, shutter: press, copy,
  again: () => (look(shown), $("verdict").focus()), more: () => ((expanded = !expanded), drawBars(), drawHeat()),
};
for (const [id, does] of Object.entries(clicks)) $(id).onclick = does;
$("model-choice").onchange = ({ target }) => use(models[target.selectedIndex]);
$("heat-on").onchange = () => (drawHeat(), shown && explain(shown));
$("strength").oninput = drawHeat;
for (const kind of ["dragover", "dragleave", "drop"]) addEventListener(kind, drag);
addEventListener("paste", ({ clipboardData }) => take(clipboardData.files));
addEventListener("keydown", ({ key }) => key === "Escape" && stopCamera());
addEventListener("online", () => shown?.error?.status === 0 && look(shown));

draw();
meet();
