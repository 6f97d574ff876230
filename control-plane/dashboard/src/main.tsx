// Entry of the dashboard: session, theme and live connection first, then the page.
import './api/schemas-without-eval.ts';
import { render } from 'preact';
import { startEvents } from './api/events.ts';
import { forgetAnswers } from './api/queries.ts';
import { apiKey, startSession } from './api/session.ts';
import { App } from './app.tsx';
import { startTheme } from './theme.ts';
import './styles/tokens.css';
import './styles/base.css';
import './styles/shell.css';
import './styles/page.css';
import './styles/cards.css';
import './styles/marks.css';
import './styles/tables.css';
import './styles/controls.css';
import './styles/charts.css';
import './styles/progress.css';

startTheme();
startSession();
startEvents();
apiKey.subscribe(forgetAnswers);

const root = document.getElementById('app');
if (root !== null) render(<App />, root);
