// What the control plane is told about the machine.
import { arch, cpus, hostname, platform, totalmem } from 'node:os';
import { type DeviceFacts, deviceCapabilities } from '@edgeloop/shared/messages';
import { version } from '../version.ts';

export function deviceFacts(): DeviceFacts {
  const processors = cpus();
  return {
    agentVersion: version,
    nodeVersion: process.version,
    platform: platform(),
    arch: arch(),
    cpus: processors.length,
    cpuModel: processors[0]?.model ?? '',
    memoryBytes: totalmem(),
    hostname: hostname(),
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    capabilities: [...deviceCapabilities],
  };
}
