// A text field with completion (the combobox of ARIA 1.2): arrows choose, Enter takes, Escape closes.

const OPTIONS_MAX = 40;

export class Picker {
  /// `names` gives the options of a text; `taken` is called with a value that was chosen or entered. `ask`, if there is
  /// one, tells later whether `names` gives more now.
  constructor(input, list, names, taken, ask = async () => false) {
    Object.assign(this, { input, list, names, taken, ask, active: -1, options: [] });
    input.addEventListener("input", () => (input.value ? this.open(input.value) : this.close()));
    input.addEventListener("click", () => this.open(""));
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("blur", () => this.close());
    // The field keeps the focus while an option is clicked.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.take(option.dataset.name);
    });
  }

  open(text) {
    this.text = text;
    this.active = -1;
    this.fill();
    this.ask(text).then((isMore) => {
      // Whoever chooses already is not disturbed.
      if (isMore && this.text === text && this.active < 0 && this.input === document.activeElement) this.fill();
    });
  }

  fill() {
    this.options = this.names(this.text, OPTIONS_MAX);
    this.list.replaceChildren(...this.options.map(([name, hint], index) => option(this.list.id, name, hint, index)));
    this.show(this.options.length > 0);
  }

  close() {
    this.text = null;
    this.show(false);
  }

  show(isOpen) {
    this.list.hidden = !isOpen;
    this.input.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    const isOpen = !this.list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen) return this.open("");
      this.move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.take(isOpen && this.active >= 0 ? this.options[this.active][0] : this.input.value.trim());
    } else if (event.key === "Escape" && isOpen) {
      // A search field would be emptied.
      event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }

  move(step) {
    const count = this.options.length;
    this.list.children[this.active]?.setAttribute("aria-selected", "false");
    this.active = (this.active + step + count + (this.active < 0 && step < 0 ? 1 : 0)) % count;
    const option = this.list.children[this.active];
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", option.id);
  }

  take(name) {
    this.input.value = name;
    this.close();
    this.taken(name);
  }
}

function option(list, name, hint, index) {
  const item = document.createElement("li");
  item.id = `${list}-${index}`;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", "false");
  item.dataset.name = name;
  const label = document.createElement("span");
  label.textContent = name;
  const note = document.createElement("small");
  note.textContent = hint;
  item.append(label, note);
  return item;
}
