import { AppError } from '@edgeloop/shared/errors';
import { describe, expect, it } from 'vitest';
import { readConfig } from './config.ts';

function problemOf(environment: NodeJS.ProcessEnv): string {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof AppError) return error.message;
  }
  return 'accepted';
}

describe('the environment of the agent', () => {
  it('has defaults that work unset, and empty variables count as unset', () => {
    const config = readConfig({ EDGELOOP_AGENT_PORT: '' });
    expect(config).toMatchObject({ host: '127.0.0.1', port: 8000, windowMs: 60_000, probationMs: 30_000, labels: {} });
    expect(config.bufferBytes).toBe(64 * 1024 * 1024);
    expect(Object.isFrozen(config)).toBe(true);
  });

  it('takes units as named', () => {
    const config = readConfig({
      EDGELOOP_WINDOW_SECONDS: '0.5',
      EDGELOOP_CAPTURE_MB: '1',
      EDGELOOP_BUFFER_DAYS: '2',
      EDGELOOP_LABELS: 'site=paris, gpu=',
    });
    expect(config).toMatchObject({
      windowMs: 500,
      captureBytes: 1024 * 1024,
      bufferMs: 172_800_000,
      labels: { site: 'paris', gpu: '' },
    });
  });

  it('names every variable that is wrong', () => {
    const problem = problemOf({ EDGELOOP_AGENT_PORT: '80x', EDGELOOP_DEVICE_ID: 'a/b', EDGELOOP_LABELS: 'site' });
    expect(problem).toContain('EDGELOOP_AGENT_PORT');
    expect(problem).toContain('EDGELOOP_DEVICE_ID');
    expect(problem).toContain('EDGELOOP_LABELS: "site" must have the form key=value');
  });

  it('refuses a window of no length and a label key with a space', () => {
    expect(problemOf({ EDGELOOP_WINDOW_SECONDS: '0' })).toContain('EDGELOOP_WINDOW_SECONDS');
    expect(problemOf({ EDGELOOP_LABELS: 'a b=c' })).toContain('EDGELOOP_LABELS');
  });

  it('takes origins and host names as browsers send them', () => {
    const config = readConfig({
      EDGELOOP_ALLOW_ORIGINS: 'http://Kiosk.local/, https://page.example:443,*',
      EDGELOOP_ALLOW_HOSTS: 'Edge-7.plant.example:8000',
    });
    expect(config.allowOrigins).toEqual(['http://kiosk.local', 'https://page.example', '*']);
    expect(config.allowHosts).toEqual(['edge-7.plant.example']);
    expect(readConfig({})).toMatchObject({ allowOrigins: [], allowHosts: [] });
  });

  it.each(['kiosk.local', 'http://kiosk.local/app', 'null', 'http://*.example'])('refuses the origin %s', (origin) => {
    expect(problemOf({ EDGELOOP_ALLOW_ORIGINS: origin })).toContain(`EDGELOOP_ALLOW_ORIGINS: "${origin}" must be`);
  });

  it('takes one serving process unless told otherwise, and no several without isolation', () => {
    expect(readConfig({})).toMatchObject({ servingProcesses: 1, isolation: true });
    expect(readConfig({ EDGELOOP_SERVING_PROCESSES: '4' }).servingProcesses).toBe(4);
    expect(problemOf({ EDGELOOP_SERVING_PROCESSES: '0' })).toContain('EDGELOOP_SERVING_PROCESSES');
    const both = problemOf({ EDGELOOP_SERVING_PROCESSES: '2', EDGELOOP_ISOLATION: 'off' });
    expect(both).toContain('EDGELOOP_ISOLATION=off leaves one process');
  });

  it('refuses a URL in the place of a host', () => {
    expect(problemOf({ EDGELOOP_ALLOW_HOSTS: 'http://edge' })).toContain('EDGELOOP_ALLOW_HOSTS: "http://edge" must be');
  });
});
