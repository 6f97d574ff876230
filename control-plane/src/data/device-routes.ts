// Captured samples from devices.
import { parseJson } from '@edgeloop/shared/errors';
import { CaptureUpload } from '@edgeloop/shared/telemetry';
import { createDeviceRouter, type DeviceRouter } from '../http/router.ts';
import type { Data } from './data.ts';

export function dataDeviceRoutes(data: Data): DeviceRouter {
  const router = createDeviceRouter();
  router.post('/device/v1/captures', async (c) => {
    const upload = parseJson(CaptureUpload, await c.req.text(), 'body');
    return c.json({ stored: await data.capture(c.var.device.id, upload) });
  });
  return router;
}
