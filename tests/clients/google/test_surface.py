"""What the wire keeps of the discovery document."""

from tests.clients.google.discovered import KEPT, methods, to_text


def test_the_file_holds_what_the_document_of_the_client_says():
    """``python -m tests.clients.google.discovered`` writes it anew."""
    assert len(methods()) == 129
    assert KEPT.read_text() == to_text()
