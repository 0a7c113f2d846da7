"""WASI 0.2, as host functions of ours: what a guest may ask of the world around it.

The functions are tables by interface; `Host` is what one run may touch. An activity's host touches the real world under
its component's policy; a workflow's only the workflow, so that every replay sees the same.
"""
