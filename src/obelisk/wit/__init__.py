"""WIT as data: types, values, JSON, extension interfaces, rendering. Pure: this ring runs nothing."""
