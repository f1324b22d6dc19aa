// Keyboard shortcuts: single keys, while no field has the focus and no dialog is open.

/// `actions` by key.
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const field = event.target.closest("input, textarea, select");
    // A field of a dialog that was just closed has the focus until the next frame.
    if (field && !field.closest("dialog")) {
      if (event.key === "Escape") field.blur();
      return;
    }
    // Space and Enter belong to what has the focus.
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
