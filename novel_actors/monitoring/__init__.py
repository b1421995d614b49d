"""Time series, alerts and dashboards."""
