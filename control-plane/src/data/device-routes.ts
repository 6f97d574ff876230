// Captured samples from devices.
import { z } from 'zod';
import { createDeviceRouter, type DeviceRouter, deviceBody } from '../http/device-router.ts';
import type { Data } from './data.ts';

/** `CaptureUpload` with each sample still to be read: one that is wrong must not take the others with it. */
const Upload = z.object({ samples: z.array(z.unknown()).min(1).max(1000) });

export function dataDeviceRoutes(data: Data): DeviceRouter {
  const router = createDeviceRouter();
  router.post('/captures', async (c) => {
    return c.json(await data.capture(c.var.device.id, await deviceBody(c, Upload)));
  });
  return router;
}
