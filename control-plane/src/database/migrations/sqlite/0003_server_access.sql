ALTER TABLE `devices` ADD `readmitted_at` integer;--> statement-breakpoint
CREATE INDEX `devices_key` ON `devices` (`key_digest`);--> statement-breakpoint
ALTER TABLE `join_tokens` ADD `uses` integer;--> statement-breakpoint
ALTER TABLE `join_tokens` ADD `revoked_at` integer;--> statement-breakpoint
ALTER TABLE `notification_channels` ADD `secret` text;--> statement-breakpoint
ALTER TABLE `notification_channels` ADD `previous_secret` text;--> statement-breakpoint
ALTER TABLE `notification_channels` ADD `previous_secret_until` integer;--> statement-breakpoint
-- How many uses a token had at first stands in the audit log.
UPDATE `join_tokens` SET `uses` = (SELECT json_extract(`after`, '$.uses') FROM `audit`
  WHERE `subject` = 'join-token/' || `join_tokens`.`id` AND `action` = 'join-token.create');
