"""Studies: several trainings that answer one question, as one parent run at MLflow with the trainings below it.

A study's folder holds what it asks (``study.json``), its trainings (``members/<name>/``, each a run's folder like any other) and its
report. It resumes as a run does: what is finished is read, what was interrupted goes on from its checkpoint, the rest is trained.
"""
