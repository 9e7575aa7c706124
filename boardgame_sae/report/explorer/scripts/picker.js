// ---- choosing what an axis shows, by group or by search ---------------------------------------------------------

class Picker {
  constructor(id) {
    this.id = id;
    this.input = byId(id);
    this.list = element("ul", { class: "options", role: "listbox", id: `${id}-list`, hidden: true });
    this.input.after(this.list);
    this.input.setAttribute("aria-controls", this.list.id);
    this.input.addEventListener("focus", () => { this.input.select(); this.open(""); });
    this.input.addEventListener("input", () => this.open(this.input.value));
    this.input.addEventListener("blur", () => this.close());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("mousedown", (event) => event.preventDefault());  // the input keeps the focus
  }

  draw() { this.input.value = axisOf[state[this.id]].title; }

  open(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (axis) => words.every((word) => `${axis.title} ${axis.group} ${axis.key}`.toLowerCase().includes(word));
    const groups = new Map();
    for (const axis of data.axes.filter(fits)) groups.set(axis.group, [...(groups.get(axis.group) ?? []), axis]);
    this.list.replaceChildren(...[...groups].flatMap(([group, axes]) =>
      [element("li", { class: "group", role: "presentation" }, group), ...axes.map((axis) => this.option(axis))]));
    if (!groups.size) this.list.append(element("li", { class: "group" }, "nothing of that name"));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.mark(words.length ? 0 : this.options().findIndex((option) => option.dataset.key === state[this.id]));
  }

  option(axis) {
    return element("li", { role: "option", "data-key": axis.key, title: axis.meaning, id: `${this.id}-${axis.key}`,
      onclick: () => this.choose(axis.key) }, axis.title);
  }

  options() { return [...this.list.querySelectorAll("[role=option]")]; }

  mark(place) {
    this.place = place;
    this.options().forEach((option, index) => option.setAttribute("aria-selected", String(index === place)));
    this.options()[place]?.scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", this.options()[place]?.id ?? "");
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.mark(Math.min(Math.max(this.place + step, 0), this.options().length - 1));
    } else if (event.key === "Enter") this.choose(this.options()[this.place]?.dataset.key);
    else if (event.key === "Escape") this.input.blur();
  }

  choose(key) {
    if (key) change({ [this.id]: key });
    this.input.blur();
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.draw();
  }
}

const pickers = [new Picker("x"), new Picker("y")];
byId("swap").addEventListener("click", () => change({ x: state.y, y: state.x }));
