// What the control plane is told about the machine.
import { arch, cpus, hostname, platform, totalmem } from 'node:os';
import { type DeviceFacts, deviceCapabilities } from '@edgeloop/shared/messages';
import { version } from '../version.ts';

export function deviceFacts(): DeviceFacts {
  return {
    agentVersion: version,
    nodeVersion: process.version,
    platform: platform(),
    arch: arch(),
    cpus: cpus().length,
    cpuModel: cpuModel(),
    memoryBytes: totalmem(),
    hostname: hostname(),
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    capabilities: [...deviceCapabilities],
  };
}

/** Alone, since the name of the time zone brings in all that Node knows of languages: 8 MB. */
export function cpuModel(): string {
  return cpus()[0]?.model ?? '';
}
