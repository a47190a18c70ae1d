"""Camera files of this and other tools: SparseAGS `cameras.json`, nerfstudio, COLMAP.

Readers raise `CameraError` and nothing else, whatever the file contains; the message names the file, the
view, the field and the remedy. The conventions themselves are converted in `agsrec.cameras`.
"""

from agsrec.camera_files.colmap import read_colmap, write_colmap
from agsrec.camera_files.course import CameraCourse, read_camera_course, write_camera_course
from agsrec.camera_files.finding import (
    camera_file_digest,
    find_photo_cameras,
    is_of_photos,
    read_photo_cameras,
)
from agsrec.camera_files.nerfstudio import read_transforms_json, write_transforms_json
from agsrec.camera_files.parsing import CameraFile
from agsrec.camera_files.sparseags import FORMAT_SIZE, read_cameras_json, write_cameras_json
from agsrec.views import view_name

__all__ = [
    "FORMAT_SIZE",
    "CameraCourse",
    "CameraFile",
    "camera_file_digest",
    "find_photo_cameras",
    "is_of_photos",
    "read_camera_course",
    "read_cameras_json",
    "read_colmap",
    "read_photo_cameras",
    "read_transforms_json",
    "view_name",
    "write_camera_course",
    "write_cameras_json",
    "write_colmap",
    "write_transforms_json",
]
