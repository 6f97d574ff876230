// Signing in with an API key.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { useEffect, useState } from 'preact/hooks';
import { send } from '../api/client.ts';
import { signIn, signOutReason } from '../api/session.ts';
import { Mark } from '../components/icons.tsx';
import { Failure } from '../components/layout.tsx';

export function LoginPage() {
  const [key, setKey] = useState('');
  const [remember, setRemember] = useState(true);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AppError | undefined>(
    signOutReason.value === '' ? undefined : new AppError('unauthorized', signOutReason.value),
  );
  useEffect(() => {
    document.title = 'Sign in · Edgeloop';
  }, []);
  const submit = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await send({ method: 'GET', path: '/devices?limit=1', key: key.trim() });
      signIn(key.trim(), remember);
    } catch (cause) {
      setError(cause instanceof AppError ? cause : new AppError('internal', messageOf(cause), { cause }));
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <div class="brand">
          <Mark />
          <h1>Edgeloop</h1>
        </div>
        <label class="field">
          API key
          <input
            type="password"
            autoComplete="current-password"
            spellcheck={false}
            required
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
        <label class="check">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} />
          Stay signed in on this browser
        </label>
        {error !== undefined && <Failure error={error} />}
        <button type="submit" class="button button-primary" disabled={busy || key.trim() === ''}>
          {busy ? 'Checking' : 'Sign in'}
        </button>
        <KeyHelp />
      </form>
    </main>
  );
}

function KeyHelp() {
  return (
    <div class="login-help">
      <p>
        The first start of the control plane writes an admin key to <code>admin.key</code> in its data folder:
      </p>
      <pre>cat data/control-plane/admin.key</pre>
      <p>Make a key for another person, with the role viewer, operator or admin:</p>
      <pre>edgeloop keys create anna --role viewer</pre>
    </div>
  );
}
