variable "size" {}
resource "terraform_data" "inner" { input = var.size }
resource "terraform_data" "boot" { 
  for_each = toset(["a.b","c"])
  input = each.key
  provisioner "local-exec" { command = "true" }
}
output "id" { value = terraform_data.inner.id }
output "known" { value = var.size }
