import { expect, it } from 'vitest';
import { readConfig } from './config.ts';

it('works without any variable', () => {
  const config = readConfig({});
  expect(config).toMatchObject({ http: { host: '127.0.0.1', port: 7400 }, device: { port: 7443 }, mqttPort: 8883 });
  expect(config.publicHosts).toContain('localhost');
  expect(Object.isFrozen(config)).toBe(true);
});

it('names every variable that is wrong', () => {
  const read = () =>
    readConfig({ EDGELOOP_HTTP_PORT: '74OO', EDGELOOP_MQTT_PORT: '70000', EDGELOOP_DATABASE_URL: 'mysql://x' });
  expect(read).toThrow(/EDGELOOP_HTTP_PORT: must be a TCP port.*EDGELOOP_MQTT_PORT.*EDGELOOP_DATABASE_URL/);
});

it('refuses what is not built, instead of ignoring it', () => {
  expect(() => readConfig({ EDGELOOP_MQTT_URL: 'mqtts://broker' })).toThrow('EDGELOOP_MQTT_URL');
  expect(() => readConfig({ EDGELOOP_BLOBS_URL: 's3://bucket' })).toThrow('EDGELOOP_BLOBS_URL');
});

it('takes an empty variable as unset, and host names separated by commas', () => {
  const config = readConfig({
    EDGELOOP_HTTP_PORT: '',
    EDGELOOP_PUBLIC_HOST: 'loop.example.com, 10.0.0.7,loop.example.com',
  });
  expect(config.http.port).toBe(7400);
  expect(config.publicHosts).toEqual(['loop.example.com', '10.0.0.7']);
});

it('says how long things are kept, in whole days and megabytes', () => {
  expect(readConfig({}).keep).toMatchObject({ windowsMs: 7 * 86_400_000, windowsBytes: 8 * 1024 ** 3 });
  expect(readConfig({ EDGELOOP_KEEP_LOGS_DAYS: '1' }).keep.logsMs).toBe(86_400_000);
  for (const wrong of ['0', '-1', '1.5', 'ever', '10000000'])
    expect(() => readConfig({ EDGELOOP_KEEP_AUDIT_DAYS: wrong })).toThrow(
      'EDGELOOP_KEEP_AUDIT_DAYS: must be a whole number',
    );
});
