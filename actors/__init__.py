"""The executing half of qfleet: sessions on backends, the simulation engine, and the actors that hold them.

`actors` may import `orchestrator`; nothing here imports `pipelines`. Ray appears in one package only (``ray_fleet``).
"""
