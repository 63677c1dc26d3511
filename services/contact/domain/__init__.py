"""The rules of contact: functions over values and arrays; time is an argument, nothing is read or written."""
