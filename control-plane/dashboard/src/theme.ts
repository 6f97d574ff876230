// Light or dark: the system's wish, unless a person chose otherwise with the toggle.
import { computed, signal } from '@preact/signals';

type Theme = 'light' | 'dark';
const storageKey = 'edgeloop.theme';
const systemDark = matchMedia('(prefers-color-scheme: dark)');

const systemTheme = signal<Theme>(systemDark.matches ? 'dark' : 'light');
const chosenTheme = signal<Theme | undefined>(storedTheme());

/** The theme that is shown now. */
export const theme = computed<Theme>(() => chosenTheme.value ?? systemTheme.value);

/** Follows the system and marks the document, so that the style sheets need no script to be right. */
export function startTheme(): void {
  systemDark.addEventListener('change', (event) => {
    systemTheme.value = event.matches ? 'dark' : 'light';
  });
  chosenTheme.subscribe((choice) => {
    if (choice === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  });
}

/** Switches to the other theme and remembers it; the system's own theme is not remembered, so it is followed again. */
export function toggleTheme(): void {
  const next: Theme = theme.value === 'dark' ? 'light' : 'dark';
  chosenTheme.value = next === systemTheme.value ? undefined : next;
  if (chosenTheme.value === undefined) localStorage.removeItem(storageKey);
  else localStorage.setItem(storageKey, next);
}

/** The colour that a custom property has now, for canvases, which style sheets do not reach. */
export function cssColor(property: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

/** The font of the page, for canvases. */
export function cssFont(): string {
  return getComputedStyle(document.body).fontFamily;
}

function storedTheme(): Theme | undefined {
  const stored = localStorage.getItem(storageKey);
  return stored === 'light' || stored === 'dark' ? stored : undefined;
}
