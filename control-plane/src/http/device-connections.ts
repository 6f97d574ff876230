// Which connections of the device port are whose, so that those of a device that is removed can be ended at once, also
// in the middle of an answer.
import type { Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { peerOfSocket } from './device-app.ts';

export function createDeviceConnections() {
  const open = new Map<string, Set<TLSSocket>>();

  function add(deviceId: string, socket: TLSSocket): void {
    const sockets = open.get(deviceId) ?? new Set();
    open.set(deviceId, sockets.add(socket));
    socket.once('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0 && open.get(deviceId) === sockets) open.delete(deviceId);
    });
  }

  return {
    watch(server: Server): void {
      server.on('secureConnection', (socket) => {
        const peer = peerOfSocket(socket);
        if (peer !== undefined) add(peer.deviceId, socket);
      });
    },

    cut(deviceId: string): void {
      for (const socket of open.get(deviceId) ?? []) socket.destroy();
    },
  };
}
