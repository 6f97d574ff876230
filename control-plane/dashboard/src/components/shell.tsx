// The frame around every page: navigation, live state, theme and leaving.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { ComponentChildren } from 'preact';
import { useEffect, useErrorBoundary, useRef } from 'preact/hooks';
import { useLocation } from 'preact-iso/router';
import { connection } from '../api/events.ts';
import { signOut } from '../api/session.ts';
import { theme, toggleTheme } from '../theme.ts';
import { Icon, type IconName, Mark } from './icons.tsx';
import { Failure } from './layout.tsx';

const places: { path: string; title: string; icon: IconName }[] = [
  { path: '/', title: 'Overview', icon: 'overview' },
  { path: '/fleet', title: 'Fleet', icon: 'fleet' },
  { path: '/models', title: 'Models', icon: 'models' },
  { path: '/rollouts', title: 'Rollouts', icon: 'rollouts' },
  { path: '/monitoring', title: 'Monitoring', icon: 'monitoring' },
  { path: '/training', title: 'Training', icon: 'training' },
  { path: '/audit', title: 'Audit', icon: 'audit' },
];

export function Shell({ children }: { children: ComponentChildren }) {
  return (
    <div class="shell">
      <a class="skip" href="#content">
        Skip to content
      </a>
      <header class="side">
        <a class="brand" href="/">
          <Mark />
          <span>Edgeloop</span>
        </a>
        <Navigation />
        <div class="side-foot">
          <LiveState />
          <button
            type="button"
            class="icon-button"
            onClick={toggleTheme}
            aria-label={theme.value === 'dark' ? 'Switch to the light theme' : 'Switch to the dark theme'}
          >
            <Icon name={theme.value === 'dark' ? 'sun' : 'moon'} />
          </button>
          <button type="button" class="icon-button" onClick={() => signOut()} aria-label="Sign out" title="Sign out">
            <Icon name="leave" />
          </button>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        {connection.value === 'lost' && (
          <p class="notice" role="status">
            The live connection is interrupted and tried again. What you see may be out of date.
          </p>
        )}
        <PageBoundary>{children}</PageBoundary>
      </main>
    </div>
  );
}

/** A page that breaks leaves the navigation standing and says why. */
function PageBoundary({ children }: { children: ComponentChildren }) {
  const [broken, again] = useErrorBoundary();
  const { path } = useLocation();
  useEffect(() => again(), [path]);
  if (broken === undefined) return <>{children}</>;
  return <Failure error={new AppError('internal', `This page cannot be shown: ${messageOf(broken)}`)} />;
}

function Navigation() {
  const { path } = useLocation();
  const bar = useRef<HTMLElement>(null);
  // On a phone the bar scrolls sideways, and the present place may be outside.
  useEffect(() => bar.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' }), [path]);
  return (
    <nav aria-label="Main" ref={bar}>
      {places.map((place) => {
        const here = place.path === '/' ? path === '/' : path === place.path || path.startsWith(`${place.path}/`);
        return (
          <a key={place.path} href={place.path} aria-current={here ? 'page' : undefined}>
            <Icon name={place.icon} />
            {place.title}
          </a>
        );
      })}
    </nav>
  );
}

const liveTexts = {
  connecting: ['wait', 'Connecting', 'Connecting to the event stream'],
  live: ['ok', 'Live', 'Changes appear by themselves'],
  lost: ['bad', 'Reconnecting', 'The event stream is interrupted; data is read every ten seconds'],
} as const;

function LiveState() {
  const [tone, text, title] = liveTexts[connection.value];
  return (
    <span class="live" role="status" title={title}>
      <span class={`dot tone-${tone}`} />
      {text}
    </span>
  );
}
