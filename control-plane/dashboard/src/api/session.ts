// The API key of the person looking: where it is kept, and how it gets here.
import { signal } from '@preact/signals';

const storageKey = 'edgeloop.key';

/** The key that requests carry; undefined shows the login page. */
export const apiKey = signal<string | undefined>(undefined);

/** Why the login page is shown again, for the person. */
export const signOutReason = signal('');

/**
 * Takes the key from the address's fragment (`#key=…`), which never reaches a server, or from an earlier visit. The
 * fragment is removed at once, so that the key stays out of the history and of shared addresses.
 */
export function startSession(): void {
  const fromAddress = keyInFragment(location.hash);
  if (fromAddress !== undefined) {
    history.replaceState(null, '', location.pathname + location.search);
    signIn(fromAddress, true);
    return;
  }
  apiKey.value = sessionStorage.getItem(storageKey) ?? localStorage.getItem(storageKey) ?? undefined;
}

/** Keeps the key for this tab, or for later visits too. */
export function signIn(key: string, remember: boolean): void {
  sessionStorage.removeItem(storageKey);
  localStorage.removeItem(storageKey);
  (remember ? localStorage : sessionStorage).setItem(storageKey, key);
  signOutReason.value = '';
  apiKey.value = key;
}

/** Forgets the key everywhere. */
export function signOut(reason = ''): void {
  sessionStorage.removeItem(storageKey);
  localStorage.removeItem(storageKey);
  signOutReason.value = reason;
  apiKey.value = undefined;
}

/** The value of `key` in `#key=…`, or undefined. */
export function keyInFragment(fragment: string): string | undefined {
  const key = new URLSearchParams(fragment.replace(/^#/, '')).get('key')?.trim();
  return key === undefined || key === '' ? undefined : key;
}
