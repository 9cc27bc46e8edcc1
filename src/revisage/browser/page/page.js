/** The page: camera or clip in, figures and settings; pixels are the frame worker's. */

const find = (id) => document.getElementById(id);
const [canvas, status, figures, video] = ["picture", "status", "figures", "film"].map(find);

/** Ms over which frames a second are counted. */
const COUNTED = 3000;

const worker = new Worker(new URL("./frame_worker.js", import.meta.url), { type: "module" });
let machine = "";
let isAtWork = false;
let film = 0;
let address = null;
let times = [];

find("unserved").remove();
find("page").hidden = false;

function say(text, isProblem = false) {
  status.textContent = text;
  status.classList.toggle("problem", isProblem);
}

worker.onmessage = ({ data }) => {
  const told = {
    ready({ kind, threads }) {
      machine = kind === "webgpu" ? "WebGPU" : `WebAssembly, ${threads ? "several threads" : "one thread"}`;
      document.body.dataset.ready = kind;
      figures.textContent = "The networks are loaded.";
    },
    shown(tally) {
      isAtWork = false;
      count(tally);
    },
    failed({ problem }) {
      isAtWork = false;
      say(`This did not work: ${problem}`, true);
    },
  };
  told[data.is](data);
};
worker.onerror = () => say("The page's own files could not be loaded. Were they all copied to the server?", true);

function count({ shown, withFaces, restored, took }) {
  const now = performance.now();
  times = [...times.filter((time) => now - time < COUNTED), now];
  const rate = times.length > 1 ? ((times.length - 1) * 1000) / (now - times[0]) : 0;
  const share = withFaces ? Math.min(1, restored / withFaces) : 0;
  if (!machine) return;
  Object.assign(document.body.dataset, { shown, withFaces, restored, rate: rate.toFixed(1), took: took.toFixed(1) });
  figures.textContent =
    `${rate.toFixed(0)} frames/s · ${(100 * share).toFixed(share < 0.1 ? 1 : 0)} % of the frames with faces restored, ` +
    `carried to the others · ${machine}`;
}

/** Send the newest frame where the worker is free; those that come meanwhile are dropped. */
async function send(mine) {
  if (mine !== film) return;
  onNextFrame(() => send(mine));
  if (isAtWork || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
  isAtWork = true;
  try {
    const bitmap = await createImageBitmap(video);
    worker.postMessage({ is: "frame", bitmap }, [bitmap]);
  } catch {
    isAtWork = false;
  }
}

function onNextFrame(then) {
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(then);
  else requestAnimationFrame(then);
}

function stop() {
  film += 1;
  video.pause();
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  video.removeAttribute("src");
  if (address) URL.revokeObjectURL(address);
  address = null;
  find("stop").disabled = true;
}

async function play() {
  times = [];
  worker.postMessage({ is: "begin" });
  await video.play();
  find("stop").disabled = false;
  canvas.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
  send(film);
}

const REFUSED = {
  NotFoundError: "There is no camera. Connect one and try again, or choose a clip.",
  NotAllowedError: "The browser keeps the camera from this page. Allow it in the address bar, or choose a clip.",
  NotReadableError: "Another program has the camera. Close it and try again, or choose a clip.",
};

find("camera").addEventListener("click", async () => {
  stop();
  if (!navigator.mediaDevices) {
    say("Browsers give a camera only to pages from https:// or localhost. Serve this page so, or choose a clip.", true);
    return;
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 }, audio: false });
    video.loop = false;
    await play();
    say("The camera is on.");
  } catch (error) {
    stop();
    say(REFUSED[error.name] ?? `The camera cannot be used: ${error.message}`, true);
  }
});

find("clip").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  stop();
  address = URL.createObjectURL(file);
  video.src = address;
  video.loop = true;
  try {
    await play();
    say(`${file.name} is played over and over.`);
  } catch {
    stop();
    say(`This browser cannot play ${file.name}. MP4 (H.264) and WebM play in all.`, true);
  }
});

find("stop").addEventListener("click", () => {
  stop();
  say("Stopped.");
});

function set() {
  const strength = Number(find("strength").value);
  find("shown-strength").textContent = `${strength} %`;
  worker.postMessage({ is: "set", values: { strength: strength / 100, split: find("split").checked } });
}

for (const id of ["strength", "split"]) find(id).addEventListener("input", set);

const offscreen = canvas.transferControlToOffscreen();
worker.postMessage({ is: "load", canvas: offscreen }, [offscreen]);
set();
say("Start the camera, or choose a clip.");
figures.textContent = "The networks are being loaded; until then a film passes as it is.";
