"""Trackers: consumers of an attempt's event log, in a process of their own. The run never calls one."""
