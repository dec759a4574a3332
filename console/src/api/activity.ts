/** When somebody last touched the page. */

let last = Date.now();

for (const event of ["pointerdown", "keydown", "wheel", "touchstart"]) {
  window.addEventListener(
    event,
    () => {
      last = Date.now();
    },
    { passive: true, capture: true },
  );
}

/** Milliseconds since somebody last used mouse, keyboard or finger here. */
export function sinceInput(): number {
  return Date.now() - last;
}
