// A button that changes something: asks first where that cannot be taken back, and shows why it was refused.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type ApiRequest, send } from '../api/client.ts';
import { announce } from '../api/events.ts';
import { Failure } from './layout.tsx';

interface Action {
  /** On the button. */
  label: string;
  request: (reason: string) => ApiRequest;
  tone?: 'primary' | 'danger';
  /** What happens, as a sentence; the button then asks first. */
  confirm?: string;
  /** Asks for a reason too. */
  reasoned?: boolean;
  done?: (answer: unknown) => void;
  /** Why it cannot be used now. */
  refusal?: string | undefined;
}

export function ActionButton(action: Action) {
  const [asking, setAsking] = useState(false);
  const { busy, error, run } = useAction(action, () => setAsking(false));
  const tone = action.tone ?? 'plain';
  return (
    <span class="action">
      <button
        type="button"
        class={`button button-${tone}`}
        disabled={busy || action.refusal !== undefined}
        title={action.refusal}
        onClick={() => (action.confirm === undefined ? void run('') : setAsking(true))}
      >
        {action.label}
      </button>
      {action.refusal !== undefined && action.tone === 'primary' && <span class="muted small">{action.refusal}</span>}
      {error !== undefined && !asking && <Failure error={error} />}
      {asking && (
        <ConfirmDialog action={action} busy={busy} error={error} confirmed={run} closed={() => setAsking(false)} />
      )}
    </span>
  );
}

function useAction(action: Action, finished: () => void) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<AppError | undefined>();
  const run = async (reason: string) => {
    setBusy(true);
    setError(undefined);
    try {
      const answer = await send(action.request(reason));
      finished();
      announce('all');
      action.done?.(answer);
    } catch (cause) {
      setError(cause instanceof AppError ? cause : new AppError('internal', messageOf(cause), { cause }));
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, run };
}

function ConfirmDialog(props: {
  action: Action;
  busy: boolean;
  error: AppError | undefined;
  confirmed: (reason: string) => Promise<void>;
  closed: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState('');
  useEffect(() => dialog.current?.showModal(), []);
  const { action } = props;
  return (
    <dialog ref={dialog} onClose={props.closed} aria-label={action.label}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void props.confirmed(reason);
        }}
      >
        <h2>{action.label}</h2>
        <p>{action.confirm}</p>
        {action.reasoned === true && (
          <label class="field">
            Reason (optional, kept in the history)
            <input
              type="text"
              maxLength={500}
              value={reason}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          </label>
        )}
        {props.error !== undefined && <Failure error={props.error} />}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={props.closed}>
            Keep as it is
          </button>
          <button type="submit" class={`button button-${action.tone ?? 'primary'}`} disabled={props.busy}>
            {action.label}
          </button>
        </div>
      </form>
    </dialog>
  );
}
