// Routes of the dashboard and what frames them.
import { LocationProvider, Route, Router } from 'preact-iso/router';
import { apiKey } from './api/session.ts';
import { Shell } from './components/shell.tsx';
import { AlertPage } from './pages/alert.tsx';
import { AlertsPage } from './pages/alerts.tsx';
import { AuditPage } from './pages/audit.tsx';
import { DevicePage } from './pages/device.tsx';
import { FleetPage } from './pages/fleet.tsx';
import { LoginPage } from './pages/login.tsx';
import { ModelPage } from './pages/model.tsx';
import { ModelsPage } from './pages/models.tsx';
import { NotFoundPage } from './pages/not-found.tsx';
import { OverviewPage } from './pages/overview.tsx';
import { PlanPage } from './pages/plan.tsx';
import { RolloutPage } from './pages/rollout.tsx';
import { RolloutsPage } from './pages/rollouts.tsx';
import { RunPage } from './pages/run.tsx';
import { TrainingPage } from './pages/training.tsx';
import { VersionPage } from './pages/version.tsx';

export function App() {
  if (apiKey.value === undefined) return <LoginPage />;
  return (
    <LocationProvider>
      <Shell>
        <Router onRouteChange={() => document.getElementById('content')?.focus({ preventScroll: true })}>
          <Route path="/" component={OverviewPage} />
          <Route path="/fleet" component={FleetPage} />
          <Route path="/fleet/:id" component={DevicePage} />
          <Route path="/models" component={ModelsPage} />
          <Route path="/models/:name" component={ModelPage} />
          <Route path="/models/:name/versions/:version" component={VersionPage} />
          <Route path="/rollouts" component={RolloutsPage} />
          <Route path="/rollouts/plan" component={PlanPage} />
          <Route path="/rollouts/:id" component={RolloutPage} />
          <Route path="/monitoring" component={AlertsPage} />
          <Route path="/monitoring/alerts/:id" component={AlertPage} />
          <Route path="/training" component={TrainingPage} />
          <Route path="/training/runs/:id" component={RunPage} />
          <Route path="/audit" component={AuditPage} />
          <Route default component={NotFoundPage} />
        </Router>
      </Shell>
    </LocationProvider>
  );
}
