// Alerts and the rules that raise them.
import { AlertStatus, ListedAlert } from '@edgeloop/shared/api/alerts';
import { useState } from 'preact/hooks';
import { useList } from '../api/queries.ts';
import { AlertCard } from '../components/alert-card.tsx';
import { AlertRules } from '../components/alert-rules.tsx';
import { Empty, Loaded, PageHead } from '../components/layout.tsx';
import { SilencesCard } from '../components/silences-card.tsx';

const rank = { firing: 0, pending: 1, resolved: 2 };

export function AlertsPage() {
  const [status, setStatus] = useState('');
  const alerts = useList(ListedAlert, { path: '/alerts', limit: 100, query: { status }, on: ['alert'] });
  return (
    <>
      <PageHead title="Monitoring">
        <fieldset class="segments">
          <legend class="unseen">Status of alerts</legend>
          {['', ...AlertStatus.options].map((option) => (
            <button key={option} type="button" aria-pressed={status === option} onClick={() => setStatus(option)}>
              {option === '' ? 'all' : option}
            </button>
          ))}
        </fieldset>
      </PageHead>
      <div class="stack" aria-live="polite">
        <Loaded query={alerts}>
          {(found) =>
            found.length === 0 ? (
              <Empty title={status === '' ? 'No alerts.' : `No alert is ${status}.`}>
                An alert fires when a version fails or slows down, when devices or models fall silent, when inputs or
                outputs of a model move away from its reference, or when labels say that it is no longer as accurate.
              </Empty>
            ) : (
              [...found]
                .sort((a, b) => rank[a.status] - rank[b.status] || b.startedAt - a.startedAt)
                .map((alert) => <AlertCard key={alert.id} alert={alert} />)
            )
          }
        </Loaded>
      </div>
      <SilencesCard />
      <AlertRules />
    </>
  );
}
