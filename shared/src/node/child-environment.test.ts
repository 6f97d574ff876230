import { expect, it } from 'vitest';
import { childEnvironment } from './child-environment.ts';

it('gives children what native libraries need, and no secret', () => {
  const needed = { PATH: '/bin', LC_ALL: 'C', ORT_LOGGING_LEVEL: '3', OMP_NUM_THREADS: '1', CUDA_VISIBLE_DEVICES: '0' };
  const secret = {
    EDGELOOP_JOIN: 'j',
    EDGELOOP_AGENT_TOKEN: 't',
    AWS_SECRET_ACCESS_KEY: 'a',
    DATABASE_URL: 'p',
    PATHS: 'x',
  };
  expect(childEnvironment({ ...needed, ...secret })).toEqual(needed);
});
