"""Files in and out: DICOM series, NIfTI and PNG masks. Readers do no arithmetic; arithmetic opens no file."""
