// Captured samples from devices.
import { CaptureUpload } from '@edgeloop/shared/telemetry';
import { createDeviceRouter, type DeviceRouter, deviceBody } from '../http/device-router.ts';
import type { Data } from './data.ts';

export function dataDeviceRoutes(data: Data): DeviceRouter {
  const router = createDeviceRouter();
  router.post('/captures', async (c) => {
    const upload = await deviceBody(c, CaptureUpload);
    return c.json({ stored: await data.capture(c.var.device.id, upload) });
  });
  return router;
}
