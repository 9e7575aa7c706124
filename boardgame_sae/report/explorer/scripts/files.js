// ---- files beside the page: scripts that hand over data, as a page opened from a disk can load nothing else -----

const handed = { latents: new Map(), boards: new Map() };
const waiting = new Map();
const explorer = {
  latents: (file, value) => handed.latents.set(file, value),
  boards: (file, value) => handed.boards.set(file, value),
};
window.explorer = explorer;
const loaded = (what, file) => handed[what].get(file);
const pathOf = (what, file) => `latents/${file}${what === "boards" ? "-boards" : ""}.js`;

function load(what, file) {
  const path = pathOf(what, file);
  if (!waiting.has(path)) waiting.set(path, new Promise((resolve) => {
    const script = element("script", { src: path, onload: () => resolve(handed[what].has(file)), onerror: () => resolve(false) });
    document.head.append(script);
  }));
  return waiting.get(path);
}

// Calls then(all were there) once the files are loaded; at once if they are already.
function whenLoaded(what, files, then) {
  if (files.every((file) => handed[what].has(file))) return then(true);
  return Promise.all(files.map((file) => load(what, file))).then((found) => then(found.every(Boolean)));
}
