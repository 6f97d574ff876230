// What of the command line is about monitoring.
import type { Command } from 'commander';
import { registerAlertCommands } from './alert-commands.ts';
import { registerChannelCommands } from './channel-commands.ts';
import { registerMetricsCommand } from './metrics-command.ts';
import { registerMonitoring } from './monitoring-report.ts';

export function registerMonitoringCommands(program: Command): void {
  registerMetricsCommand(program);
  registerAlertCommands(program);
  registerChannelCommands(program);
  registerMonitoring(program);
}
