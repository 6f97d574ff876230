ALTER TABLE `rollout_devices` ADD `activation` text;--> statement-breakpoint
ALTER TABLE `rollouts` ADD `traceparent` text;--> statement-breakpoint
ALTER TABLE `rollouts` ADD `traced_at` integer;